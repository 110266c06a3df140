"""COCO annotation files, read and written: boxes, crowds, masks and keypoints."""

import math
import mmap
import os
import re

import numpy as np

from kerasdet.data import coco_fields, faults, files, objects, segments
from kerasdet.data.dataset import Dataset
from kerasdet.data.folder import Folder
from kerasdet.data.tally import Tally

# COCO's keypoints are pixel indices; in continuous coordinates the center of pixel 0 lies here.
MIDDLE = 0.5
# The largest id that TensorFlow's int64 holds.
_MOST = 2**63 - 1


def read(annotations, images, keypoints=(), classes=None, folder=None):
    """Reads a COCO instances or keypoints file.

    Classes are numbered 0...K-1 in the order of their category ids. An image without annotations is a background image.
    Boxes are clipped to the image; a box without area left is dropped and counted in the data set's `notes`. Boxes
    refer to the upright picture, which is what annotation tools show, even if the file states the size of the picture
    before its EXIF rotation; that is noted too. A category named "ignore" or similar is not a class: it marks regions
    to ignore. A category that only groups others, as their `supercategory`, is not a class either. Of a box that CVAT
    rotated, the upright hull is taken. Ids may be numbers or text.

    Args:
        annotations: path of the JSON file.
        images: folder that the file names in the JSON file are relative to.
        keypoints: names of the P keypoints; by default those of the file's categories.
        classes: names of all or some categories, in the order of the class ids.
        folder: folder below which photos are looked for that are not in `images`; by default `images`.

    Returns:
        `Dataset`. Its records carry `segments`, as written in the file, if every annotation has one, and `keypoints`
        if they have names (objects without keypoints get zeros).

    Raises:
        ValueError: names the file and the annotation, image or category at fault.
        FileNotFoundError: states the number of missing image files and the first of them.
    """
    content, tally = coco_fields.load(annotations), Tally()
    used = {coco_fields.id_key(one.get("category_id")) for one in content["annotations"] if isinstance(one, dict)}
    categories = coco_fields.categories(content["categories"], used, annotations)
    keypoints = tuple(keypoints) or coco_fields.keypoint_names(categories, annotations)
    names, numbers, ignored = objects.numbered(classes or [one["name"] for one in categories], annotations)
    class_of = {one["id"]: numbers[one["name"]] for one in categories if one["name"] in numbers}
    pictures = _pictures(content["images"], annotations)
    rows_of = _by_image(content["annotations"], pictures, class_of, len(keypoints), annotations)
    pictures, rows_of, found = _located(pictures, rows_of, images, folder or images, annotations, tally)
    paths = [picture["path"] for picture in pictures.values()]
    stated_sizes = [coco_fields.stated_size(picture, annotations) for picture in pictures.values()]
    sizes = files.upright_sizes(paths, stated_sizes)

    numeric = all(isinstance(one, int) and 0 <= one <= _MOST for one in pictures)
    if not numeric:
        tally.note(
            "{image id is|image ids are} text, negative or too large for 64 bits, and {is|are} renumbered",
            list(map(str, pictures)),
        )
    of_class = {number: one for one, number in class_of.items()}
    category_ids = [of_class.get(number) for number in range(len(names))]
    whole = all(isinstance(one, int) and 0 <= one <= _MOST for one in category_ids)
    dataset = Dataset(
        name=os.path.splitext(os.path.basename(annotations))[0],
        classes=names,
        records=[],
        category_ids=category_ids if whole else (),
        keypoints=keypoints,
        notes=ignored,
        skeleton=coco_fields.skeleton(categories, len(keypoints)),
        written="sizes",
        tally=tally,
    )
    masked = _masks(rows_of, dict(zip(rows_of, sizes, strict=True)), tally)
    dataset.notes += _left_out(rows_of, keypoints, annotations)
    turned = [row["place"] for rows in rows_of.values() for row in rows if row["turned"]]
    tally.note("{box is|boxes are} rotated; {its|their} upright hull is taken", turned)
    for position, (key, path, size, stated_size) in enumerate(zip(rows_of, paths, sizes, stated_sizes, strict=True)):
        rows = rows_of[key]
        poses = [row["keypoints"] or [0] * 3 * len(keypoints) for row in rows]
        objects.add(
            dataset,
            key if numeric else position,
            path,
            size,
            boxes=[row["box"] for row in rows],
            numbers=[row["class"] for row in rows],
            place=lambda i, rows=rows, key=key, path=path: (
                f"{rows[i]['place']} of image {key} ({os.path.basename(path)}), bbox {rows[i]['bbox']}"
            ),
            crowds=[row["crowd"] for row in rows],
            areas=[row["area"] for row in rows],
            segments=[row["segment"] for row in rows] if masked else None,
            keypoints=moved(np.reshape(poses, (len(rows), len(keypoints), 3)), MIDDLE) if keypoints else None,
            stated_size=stated_size,
        )
    return objects.finished(dataset, annotations, found)


def content(dataset):
    """The content of a COCO annotation file for a data set, without the names of its image files.

    Args:
        dataset: a `Dataset`.

    Returns:
        Dict of the lists `images`, `categories` and `annotations` of plain Python values. Annotations are numbered
        from 1 in the order of the records.
    """
    skeleton = [[start + 1, end + 1] for start, end in dataset.skeleton]  # COCO counts keypoints from 1
    keypoints = {"keypoints": list(dataset.keypoints), "skeleton": skeleton} if dataset.keypoints else {}
    categories = zip(dataset.category_ids, dataset.classes, strict=True)
    annotations = []
    for record in dataset.records:
        for index in range(len(record.boxes)):
            annotations.append({"id": len(annotations) + 1, **_annotation(record, index, dataset.category_ids)})
    return {
        "images": [{"id": record.id, "height": record.height, "width": record.width} for record in dataset.records],
        "categories": [{"id": category_id, "name": name, **keypoints} for category_id, name in categories],
        "annotations": annotations,
    }


def _annotation(record, index, category_ids):
    x1, y1, x2, y2 = record.boxes[index].tolist()
    annotation = {
        "image_id": record.id,
        "category_id": category_ids[record.classes[index]],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(record.areas[index]),
        "iscrowd": int(record.crowds[index]),
    }
    if record.segments is not None:
        annotation["segmentation"] = record.segments[index]
    if record.keypoints is not None:
        annotation["keypoints"] = moved(record.keypoints[index], -MIDDLE).ravel().tolist()
        annotation["num_keypoints"] = int((record.keypoints[index][:, 2] > 0).sum())
    return annotation


def moved(points, step):
    """Moves the labeled ones of keypoints [..., 3] by `step` in x and y."""
    return points + np.float32([step, step, 0]) * (points[..., 2:] > 0)


def holds(path):
    """Whether a file has the words of a COCO file; a look, not a proof."""
    if not os.path.getsize(path):
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(b'"%s"' % word) >= 0 for word in (b"images", b"annotations", b"categories"))


def _pictures(images, path):
    """The images of the file by their ids."""
    pictures = {}
    for index, picture in enumerate(images):
        name, key = picture.get("file_name"), coco_fields.id_key(picture.get("id"))
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            faults.report(f"{path}: image number {index}, counted from 0, has no 'file_name' that is text: {name!r}.")
        elif key is None:
            faults.report(f"{path}: image id {picture.get('id')!r} of {name} is neither a number nor text.")
        elif key in pictures:
            faults.report(f"{path}: two images have the same id {key}: {pictures[key]['file_name']} and {name}.")
        else:
            pictures[key] = picture
    return pictures


def _located(pictures, rows_of, images, folder, path, tally):
    """Finds the photos; entries of one photo become one.

    Returns:
        The pictures with their `path`, the annotations, both by id, and how many photos lie below the folder.
    """
    tree = Folder(folder)
    near = [os.path.relpath(images, folder)] if os.path.isdir(folder) else []
    first, merged, kept = {}, {}, {}
    for key, picture in pictures.items():
        name = picture["file_name"]
        direct = os.path.normpath(os.path.join(images, name))
        # A look into the list is far cheaper than one at the disk, above all on network disks.
        listed = bool(near) and tree.has(os.path.normpath(os.path.join(near[0], name)))
        place = direct if listed or os.path.isfile(direct) else tree.find(name, near)
        if isinstance(place, list):
            faults.report(
                f"{path}: {len(place)} photos below {folder} are called {os.path.basename(name)}, first {place[0]} and "
                f"{place[1]}: say by --images which folder is meant."
            )
            place = place[0]
        place = direct if place in (None, direct) else tree.full(place)
        if place in first:
            merged[key] = first[place]
            known = {(row["class"], *row["bbox"]) for row in kept[first[place]]}
            fresh = [row for row in rows_of[key] if (row["class"], *row["bbox"]) not in known]
            kept[first[place]] = kept[first[place]] + fresh
        else:
            first[place] = key
            kept[key] = rows_of[key]
            pictures[key] = {**picture, "path": place}
    tally.note(
        "{entry is|entries are} of a photo that has an entry already; they are merged",
        [f"image {key} ({pictures[key]['file_name']})" for key in merged],
    )
    pictures = {key: picture for key, picture in pictures.items() if key not in merged}
    files.require([picture["path"] for picture in pictures.values()], path)
    return pictures, kept, len(tree.photos) + tree.hidden


def _by_image(annotations, pictures, class_of, points, path):
    """The checked annotations of every image, as dicts of what is read."""
    rows_of = {image_id: [] for image_id in pictures}
    seen = set()
    for index, annotation in enumerate(annotations):
        key = coco_fields.id_key(annotation.get("id"))
        place = f"annotation {key}" if key is not None else f"annotation number {index}, counted from 0,"
        fault = "occurs twice: ids must be unique" if key is not None and key in seen else None
        fault = fault or coco_fields.fault(annotation, pictures, class_of, points)
        if fault:
            faults.report(f"{path}: {place} {fault}.")
            continue
        seen.add(key)
        rows_of[coco_fields.id_key(annotation["image_id"])].append(_row(annotation, class_of, place))
    return rows_of


def _row(annotation, class_of, place):
    area = annotation.get("area")
    attributes = annotation.get("attributes")
    turn = attributes.get("rotation") if isinstance(attributes, dict) else 0
    turned = isinstance(turn, (int, float)) and math.isfinite(turn) and turn % 180 != 0
    box = _corners(annotation["bbox"])
    return {
        "place": place,
        "bbox": annotation["bbox"],
        "box": objects.hull(box, turn) if turned else box,
        "turned": turned,
        "class": class_of[coco_fields.id_key(annotation["category_id"])],
        "crowd": objects.flag(annotation.get("iscrowd", 0)),
        "area": area if area is not None and area > 0 else None,
        "unusable": area is not None and area <= 0,
        "segment": annotation.get("segmentation") or None,
        "keypoints": annotation.get("keypoints") or None,
    }


def _masks(rows_of, size_of, tally):
    """Refuses masks that cannot be decoded, gives areas to the others; whether every object has a mask."""
    every, refused = True, "{mask is refused, its box is|masks are refused, their boxes are} kept; a mask"
    for key, rows in rows_of.items():
        for row in rows:
            fault = segments.fault(row["segment"], *size_of[key]) if row["segment"] is not None else None
            if fault and isinstance(row["segment"], list):
                # Polygons of a pen's slip beside good ones: the good ones are the mask.
                good = [part for part in row["segment"] if segments.fault([part], *size_of[key]) is None]
                row["segment"] = good or None
                kind = "{mask loses|masks lose} a polygon, which" if good else refused
                tally.note(f"{kind} {_plain(fault)}", [f"{row['place']} of image {key}"])
            elif fault:
                row["segment"] = None
                tally.note(f"{refused} {_plain(fault)}", [f"{row['place']} of image {key}"])
            if row["segment"] is not None and row["unusable"]:
                row["area"] = segments.area(row["segment"], *size_of[key])
            every = every and row["segment"] is not None
    return every


def _plain(fault):
    """A fault without its own numbers, so that faults of a kind are counted together."""
    return re.sub(r"\[.*?\]|\d+", "…", fault)


def _left_out(rows_of, keypoints, path):
    """Notes on keypoints and masks that the file holds but the data set drops."""
    rows = [(key, row) for key, found in rows_of.items() for row in found]
    notes = []
    if not keypoints and any(row["keypoints"] for _, row in rows):
        notes.append(f"{path}: keypoints are dropped because no category defines them: pass `keypoints`.")
    maskless = [row["place"] for _, row in rows if row["segment"] is None]
    if 0 < len(maskless) < len(rows):
        notes.append(
            f"{path}: masks are dropped because {len(maskless)} of {len(rows)} annotations have no "
            f"segmentation, first {maskless[0]}."
        )
    return notes


def _corners(bbox):
    x, y, width, height = bbox
    return x, y, x + width, y + height
