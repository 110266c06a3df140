"""The page of a data set: its parts, classes, sizes and boxes, what is wrong with it, and photos."""

import os

import numpy as np

from kerasdet import images
from kerasdet.data.folder import Folder, is_photo, key, stem
from kerasdet.report import page

# So many faults and notes are listed, and so many faults have their photo shown.
_LISTED, _SHOWN = 200, 24
# Rows and columns of the heat map of where boxes lie.
_HEAT = (24, 40)
# Upper ends of the columns of the charts: objects in a photo, and sides of boxes, pixels.
_OBJECTS = (0, 1, 2, 3, 5, 10, 20, 50, 100, np.inf)
_SIDES = (8, 16, 32, 64, 96, 128, 256, 512, np.inf)


def write(folder, parts, faults, lines, path):
    """Writes the page.

    Args:
        folder: the folder that was checked.
        parts: list of (name or None, `Dataset`, `validate.Findings`).
        faults: what is wrong with the folder as a whole, one message each.
        lines: what training does first, one line each.
        path: HTML file to write.
    """
    every = [line for _, _, findings in parts for line in findings.faults] + list(faults)
    notes = list(dict.fromkeys(line for _, _, findings in parts for line in findings.notes))
    records = _once(parts)
    classes = list(dict.fromkeys(name for _, dataset, _ in parts for name in dataset.classes))
    boxes = [(record, record.boxes[~record.crowds]) for record in records]
    sides = np.concatenate([np.zeros(0), *(np.sqrt(np.prod(b[:, 2:] - b[:, :2], axis=1)) for _, b in boxes)])
    shown = _faulty(folder, every, parts, classes) + _sample(parts, classes)
    page.write(
        "dataset.html",
        path,
        title=os.path.basename(os.path.abspath(folder)) if os.path.isdir(folder) else str(folder),
        tiles=_tiles(records, every, notes, classes),
        faults=every[:_LISTED],
        more_faults=max(len(every) - _LISTED, 0),
        notes=notes[:_LISTED],
        lines=lines,
        parts=[name or "all" for name, _, _ in parts],
        photos_of=[len(dataset) for _, dataset, _ in parts],
        classes=_classes(parts, classes),
        objects=_histogram([len(some) for _, some in boxes], _OBJECTS, 1),
        sides=_histogram(sides, _SIDES),
        sizes=_sizes(records),
        heat=_heat(boxes),
        data={"judged": False, "classes": classes, "photos": shown},
    )


def _once(parts):
    """The records of all parts; a photo that is in several parts counts once."""
    found = {}
    for name, dataset, _ in parts:
        for record in dataset.records:
            found.setdefault(record.image if isinstance(record.image, str) else (name, record.id), record)
    return list(found.values())


def _tiles(records, faults, notes, classes):
    boxes = sum(int((~record.crowds).sum()) for record in records)
    empty = sum(not len(record.boxes) for record in records)
    numbers = {"photos": len(records), "boxes": boxes, "classes": len(classes), "photos without objects": empty}
    return {**numbers, "faults": len(faults), "notes": len(notes)}.items()


def _classes(parts, classes):
    """A row for each class: objects in every part, photos that have it, and the median side of its boxes."""
    rows = []
    for index, name in enumerate(classes):
        counts, photos, sides = [], set(), []
        for part, dataset, _ in parts:
            number = dataset.classes.index(name) if name in dataset.classes else -1
            counts.append(0)
            for record in dataset.records:
                own = record.boxes[(record.classes == number) & ~record.crowds]
                if len(own):
                    counts[-1] += len(own)
                    photos.add(record.image if isinstance(record.image, str) else (part, record.id))
                    sides.append(np.sqrt(np.prod(own[:, 2:] - own[:, :2], axis=1)))
        side = float(np.median(np.concatenate(sides))) if sides else None
        rows.append({
            "name": name, "color": page.color(index), "counts": counts, "photos": len(photos), "side": side,
        })  # fmt: skip
    return sorted(rows, key=lambda row: -sum(row["counts"]))


def _histogram(values, ends, step=0):
    """Columns of the values up to each end, named by their range; `step` is 1 for whole numbers."""
    starts = [None, *ends[:-1]]
    counts = np.bincount(np.searchsorted(ends, np.asarray(values, float)), minlength=len(ends))
    bars = []
    for start, end, count in zip(starts, ends, counts.tolist(), strict=True):
        if start is None or start + step == end:
            name = str(end)
        else:
            name = f"> {start}" if end == np.inf else f"{start + step}–{end}"
        bars.append({"name": name, "count": count})
    return bars


def _sizes(records):
    """The most frequent sizes of photos, (name, number)."""
    sizes = {}
    for record in records:
        name = f"{record.width} × {record.height}"
        sizes[name] = sizes.get(name, 0) + 1
    return sorted(sizes.items(), key=lambda pair: -pair[1])[:12]


def _heat(boxes):
    """[24][40] shares 0...1: how many boxes cover each place of their photo, relative to the most covered place."""
    rows, columns = _HEAT
    edges = np.zeros((rows + 1, columns + 1))
    for record, some in boxes:
        scale = np.array([columns / record.width, rows / record.height] * 2)
        x1, y1, x2, y2 = np.clip(np.rint(some * scale), 0, [columns, rows] * 2).astype(int).T
        # Corners of a summed table: adding them up gives 1 inside of each box.
        for y, x, sign in ((y1, x1, 1), (y2, x2, 1), (y1, x2, -1), (y2, x1, -1)):
            np.add.at(edges, (y, x), sign)
    covered = edges.cumsum(0).cumsum(1)[:rows, :columns]
    return (covered / max(covered.max(), 1)).round(3).tolist()


def _faulty(folder, faults, parts, classes):
    """The photos of the first faults that name one, or a file of its name."""
    tree = Folder(folder) if os.path.isdir(folder) else None
    known = {record.image: (record, dataset) for _, dataset, _ in parts for record in dataset.records
             if isinstance(record.image, str)}  # fmt: skip
    photos = {}
    for line in faults:
        path = _photo_of(line, tree)
        if path is None or len(photos) == _SHOWN:
            continue
        if path in photos:
            photos[path]["words"] += f" {line}"
            continue
        try:
            pixels = images.load(path)
        except ValueError:
            continue  # the fault itself: there is nothing to show
        objects = _objects(*known[path], classes) if path in known else []
        photos[path] = {"name": os.path.basename(path), "group": "fault", "words": line, **_shown(pixels, objects)}
    return list(photos.values())


def _photo_of(line, tree):
    """The path of the photo that a message names first, or whose annotation file it names."""
    for word in line.replace(",", " ").replace(":", " ").split():
        if is_photo(word) and os.path.isfile(word):
            return word
        same = tree.by_stem.get(key(stem(word)), ()) if tree and "." in word else ()
        if len(same) == 1:
            return tree.full(same[0])
    return None


def _sample(parts, classes):
    """The photos that were kept for drawing."""
    photos = []
    for part, dataset, findings in parts:
        for index, pixels in findings.drawn.items():
            record = dataset.records[index]
            known = {"name": os.path.basename(record.name), "group": part or "all", "words": part or ""}
            photos.append({**known, **_shown(pixels, _objects(record, dataset, classes))})
    return photos


def _shown(pixels, objects):
    """A photo for report.js."""
    height, width = pixels.shape[:2]
    return {"source": page.data(pixels), "width": width, "height": height, "objects": objects, "detections": []}


def _objects(record, dataset, classes):
    """The objects of a photo for report.js."""
    rows = zip(page.rounded(record.boxes), record.classes.tolist(), record.crowds.tolist(), strict=True)
    known = range(len(dataset.classes))  # a number without a name is a fault that the page lists
    return [[*box, classes.index(dataset.classes[i]), int(crowd), 1, 0] for box, i, crowd in rows if i in known]
