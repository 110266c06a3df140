"""Reader of Pascal VOC folders: one XML file a photo."""

import glob
import math
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter

from kerasdet.data import faults, files, objects
from kerasdet.data.dataset import Dataset
from kerasdet.data.folder import Folder, key, part_in, stem
from kerasdet.data.tally import Tally

# What difficult objects are: regions to ignore, or objects like all others, as SSD's release trains them.
DIFFICULT = ("crowd", "object")
_OBJECT = "annotation"


def read(folder, split=None, classes=None, difficult="crowd", images=None):
    """Reads one split of a Pascal VOC folder.

    The XML files lie anywhere below the folder, usually in `Annotations/` or beside the photos. The photo of an XML
    file is the one of its name, or else the one that it names. Photos without an XML file, in the same folders as the
    others, are background. VOC counts pixels from 1 and includes the last one, so that a box is (xmin - 1, ymin - 1,
    xmax, ymax) in continuous coordinates. One with xmax <= xmin or ymax <= ymin, or that lies outside the image, is
    dropped and counted in the data set's `notes`. What is named "ignore" or the like is a crowd. Image ids are
    positions in the split, from 0.

    Args:
        folder: the folder, for PASCAL VOC itself `VOCdevkit/VOC2007`, or `VOCdevkit` if it holds one year only.
        split: the name of a list, `ImageSets/Main/SPLIT.txt` or `SPLIT.txt`, or of the folders that hold the part;
            None takes every XML file.
        classes: names in the order of the class ids; by default all names in the folder's XML files, sorted, so that
            every split has the same.
        difficult: one of `DIFFICULT`, what objects marked as difficult become. VOC's metric ignores them: read them as
            objects to train on only.
        images: folder of the photos; by default they are looked for below the folder.

    Returns:
        `Dataset`.

    Raises:
        ValueError: one line that names the file and the object at fault, or what `difficult` may be.
        FileNotFoundError: one line with the missing list, or the number of missing files and the first of them.
    """
    if difficult not in DIFFICULT:
        raise ValueError(f"{folder}: difficult must be one of {DIFFICULT}, got {difficult!r}.")
    folder, tally = _year(os.fspath(folder)), Tally()
    tree = Folder(folder)
    every = tree.ending(".xml")
    names, background = _chosen(tree, every, split)
    sources = [tree.full(name) for name in names]
    files.require(sources, folder)
    slips, page_of = [], {}
    if classes is None:
        page_of = {tree.full(name): _parse(tree.full(name)) for name in every}
        counts = _names_used(page_of.values())
        classes, slips = sorted(counts), objects.slips(counts, folder)
    classes, numbers, ignored = objects.numbered(classes, folder)
    pages = [page_of[source] if source in page_of else _parse(source) for source in sources]
    photos = tree if images is None else Folder(images)
    paths = [_photo(photos, name, page, tally) for name, page in zip(names, pages, strict=True)]
    if background:
        alone = _alone(photos, {os.path.relpath(path, photos.path) for path in paths}, split)
        tally.note("{photo has|photos have} no XML file and {is|are} background", alone)
        paths += [photos.full(name) for name in alone]
        sources += alone
        pages += [ET.Element(_OBJECT) for _ in alone]
    files.require(paths, folder)
    stated = [_stated_size(page) for page in pages]
    sizes = files.upright_sizes(paths, stated)

    name = os.path.basename(os.path.abspath(folder))
    dataset = Dataset(name if split is None else f"{name} {split}", classes, [], notes=ignored + slips, tally=tally)
    for index, (source, page, path, size, said) in enumerate(zip(sources, pages, paths, sizes, stated, strict=True)):
        places, boxes, kinds, hard = _objects(page, source, numbers, tally)
        crowds = hard if difficult == "crowd" else None
        objects.add(dataset, index, path, size, boxes, kinds, places.__getitem__, crowds, stated_size=said)
    return objects.finished(dataset, folder, len(photos.photos) + photos.hidden)


def splits(folder):
    """Names of the lists of a folder, without those of single classes; else of the folders that hold its parts."""
    tree = Folder(_year(os.fspath(folder)))
    every = tree.ending(".xml")
    names = {stem(place) for place in _lists(tree, every)}
    lists = sorted(name for name in names if name.rpartition("_")[2] not in names - {name})
    return lists or sorted({part_in(name) for name in every} - {None})


def _year(folder):
    """The folder of the one year of a devkit, or the folder itself."""
    inner = glob.escape(folder)
    years = [year for kit in ("", "VOCdevkit") for year in glob.glob(os.path.join(inner, kit, "VOC[0-9]*"))]
    if os.path.isdir(os.path.join(folder, "Annotations")) or not years:
        return folder
    if len(years) > 1:
        raise ValueError(f"{folder} holds several years; give one of them: {', '.join(sorted(years))}.")
    return years[0]


def _lists(tree, every):
    """The lists of a folder: text files in ImageSets, and others if they name its photos."""
    known = {key(stem(name)) for name in every}
    found = []
    for name in tree.ending(".txt"):
        parent = os.path.dirname(name)
        official = parent.split(os.sep)[0].lower() == "imagesets"
        if official and os.path.basename(parent) != "Main" and "Main" in os.listdir(tree.full("ImageSets")):
            continue
        if official or (not parent and _names_photos(tree.full(name), known)):
            found.append(name)
    return found


def _names_photos(path, known):
    try:
        lines = [line.strip() for line in files.text(path).splitlines() if line.strip()]
    except ValueError:
        return False
    named = sum(key(os.path.splitext(os.path.basename(line.split()[0]))[0]) in known or _stem(line, known) in known
                for line in lines)  # fmt: skip
    return 2 * named >= len(lines) > 0


def _stem(line, known):
    """A line's name as XML files have it: without folder, ending, and the -1, 0 or 1 in the list of a class."""
    name = os.path.basename(line.replace("\\", "/"))
    forms = [name, os.path.splitext(name)[0], re.sub(r"\s+(-1|0|1)$", "", name)]
    forms.append(os.path.splitext(forms[-1])[0])
    return next((key(form) for form in forms if key(form) in known), key(forms[2]))


def _chosen(tree, every, split):
    """The XML files of a split, and whether photos beside them without one belong to it too."""
    if split is None:
        return every, True
    by_stem = {}
    for name in every:
        by_stem.setdefault(key(stem(name)), []).append(name)
    listed = [name for name in _lists(tree, every) if stem(name) == split]
    listed = listed or [name for name in tree.ending(".txt") if stem(name) == split and name.count(os.sep) in (0, 2)]
    if listed:
        lines = [line.strip() for line in files.text(tree.full(listed[0])).splitlines() if line.strip()]
        stems = [_stem(line, by_stem) for line in lines]
        folder = os.path.dirname(every[0]) if every else ""
        missing = {one: [os.path.join(folder, f"{_bare(line)}.xml")] for one, line in zip(stems, lines, strict=True)}
        return [(by_stem.get(one) or missing[one])[0] for one in dict.fromkeys(stems)], False
    names = [name for name in every if part_in(name) == split]
    if not names:
        places = [os.path.join(tree.path, *parts, f"{split}.txt") for parts in (("ImageSets", "Main"), ())]
        raise FileNotFoundError(f"{tree.path} has no split '{split}': neither {places[0]} nor {places[1]} exists.")
    return names, True


def _bare(line):
    return re.sub(r"\s+(-1|0|1)$", "", line)


def _photo(photos, source, page, tally):
    """The path of the photo of an XML file: of its name, and if there are several, the one that it names."""
    said = (page.findtext("filename") or "").strip()
    same = photos.by_stem.get(key(stem(source)), [])
    if not same:
        near = [os.path.dirname(source), *_twins(source)]
        found = photos.find(said, near) or []
        same = found if isinstance(found, list) else [found]
    if not same:
        rooms = Counter(map(os.path.dirname, photos.photos)).most_common(1)
        return photos.full(os.path.join(rooms[0][0] if rooms else "", f"{stem(source)}.jpg"))
    part = part_in(source)

    def rank(photo):
        return (
            part_in(photo) == part,
            key(os.path.basename(photo)) == key(os.path.basename(said.replace("\\", "/"))),
            os.path.dirname(photo) in (os.path.dirname(source), *_twins(source)),
            photo.lower().endswith((".jpg", ".jpeg")),
        )

    best = max(same, key=rank)
    if sum(rank(photo) == rank(best) for photo in same) > 1:
        tally.note("{XML file has|XML files have} several photos of {its|their} name; the first is taken", [source])
    return photos.full(best)


def _twins(source):
    """The folders in which the photos of an XML file usually lie."""
    parts = os.path.dirname(source).split(os.sep)
    for index, part in enumerate(parts):
        if part.lower() in ("annotations", "annotation", "xml", "xmls", "labels", "ann"):
            for room in ("JPEGImages", "images", "Images", "imgs", "img"):
                yield os.path.join("", *parts[:index], room, *parts[index + 1 :])


def _alone(photos, used, split):
    """Photos without an XML file in the folders of those that have one; not masks, which bear a photo's name."""
    rooms = {os.path.dirname(name) for name in used}
    taken = {key(stem(name)) for name in used}
    return [
        photo
        for photo in photos.photos
        if os.path.dirname(photo) in rooms and photo not in used and key(stem(photo)) not in taken
        and (split is None or part_in(photo) in (split, None))
    ]  # fmt: skip


def _parse(source):
    """The root of an XML file, without namespaces; an empty page if it is none of Pascal VOC."""
    try:
        with open(source, "rb") as file:
            root = _root(file.read())
    except (ET.ParseError, ValueError, LookupError) as error:
        faults.report(f"{source} is not readable XML: {error}.")
        return ET.Element(_OBJECT)
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    if root.tag.lower() != _OBJECT:
        hint = ": this is CVAT's own format; export as COCO or Pascal VOC" if root.tag == "annotations" else ""
        faults.report(f"{source} is no Pascal VOC file: its root is <{root.tag}>, not <{_OBJECT}>{hint}.")
        return ET.Element(_OBJECT)
    return root


def _root(content):
    declared = re.match(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["'][^>]*\?>""", content)
    code = declared[1].decode().lower() if declared else ""
    if code in ("gb2312", "gbk"):
        code = "gb18030"  # which holds both, and files are often declared as the smaller one
    try:
        return ET.fromstring(content)
    except (ValueError, ET.ParseError):
        # Expat knows few encodings, and none of several bytes but Unicode's.
        if not code or code.startswith("utf"):
            raise
        return ET.fromstring(content[declared.end() :].decode(code))


def _names_used(pages):
    """How many objects have each name."""
    texts = (name.text for page in pages for name in page.iterfind("object/name") if name.text)
    return Counter(text.strip() for text in texts if text.strip())


def _stated_size(page):
    size = [page.findtext(f"size/{side}", "0").strip() for side in ("height", "width")]
    return tuple(map(int, size)) if all(side.isdecimal() and 0 < int(side[:12]) for side in size) else None


def _objects(page, source, numbers, tally):
    """The words that name each object of a page, its corners, class ids and whether it is difficult."""
    places, boxes, kinds, hard = [], [], [], []
    for index, element in enumerate(page.findall("object"), 1):
        name = (element.findtext("name") or "").strip()
        place = f"{source}: object {index} ({name})"
        if name not in numbers:
            faults.report(f"{place} is of none of the classes {tuple(numbers)}.")
            continue
        difficult = objects.flag((element.findtext("difficult") or "").strip())
        if difficult is None:
            faults.report(f"{place} is difficult {element.findtext('difficult')!r}: 0 or 1 is needed.")
            continue
        corners = [_corner(element, tag, place) for tag in ("xmin", "ymin", "xmax", "ymax")]
        if None in corners:
            continue
        x1, y1, x2, y2 = corners
        first = 1 if x2 > x1 and y2 > y1 else 0  # what is no box gains no pixel by counting
        box, turn = [x1 - first, y1 - first, x2, y2], _rotation(element)
        if turn:
            tally.note("{box is|boxes are} rotated; {its|their} upright hull is taken", [place])
        places.append(place)
        boxes.append(objects.hull(box, turn) if turn else box)
        kinds.append(numbers[name])
        hard.append(difficult)
    return places, boxes, kinds, hard


def _rotation(element):
    """CVAT's rotation of a box, degrees."""
    for attribute in element.iterfind("attributes/attribute"):
        if attribute.findtext("name") == "rotation":
            try:
                turn = float(attribute.findtext("value"))
            except (TypeError, ValueError):
                return 0.0
            return turn if math.isfinite(turn) and turn % 180 else 0.0
    return 0.0


def _corner(element, tag, place):
    text = element.findtext(f"bndbox/{tag}")
    try:
        corner = float(text)
    except (TypeError, ValueError):
        corner = math.nan
    if not abs(corner) < 1e30:
        faults.report(f"{place} needs a finite number in <bndbox><{tag}>, it holds {text!r}.")
        return None
    return corner
