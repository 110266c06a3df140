"""COCO annotation files, read and written: boxes, crowds, masks and keypoints."""

import json
import math
import os

import numpy as np

from kerasdet.data import faults, files, objects
from kerasdet.data.dataset import Dataset

# COCO's keypoints count pixels; in continuous coordinates the middle of pixel 0 lies here.
MIDDLE = 0.5


def read(annotations, images, keypoints=()):
    """Reads a COCO instances or keypoints file.

    Classes are numbered 0...K-1 in the order of their category ids. An image without annotations is a background image.
    Boxes are clipped to the image; one that keeps no area is dropped, with a line in the data set's `notes`. They are
    read as boxes of the upright picture, which is what annotation tools show, even where the file states the size of
    the picture before its EXIF rotation; that too is noted. A category named "ignore" or the like is no class but
    marks regions to ignore.

    Args:
        annotations: path of the json file.
        images: folder that the file names of the json file start from.
        keypoints: names of the P keypoints; by default those of the file's categories.

    Returns:
        `Dataset`. Its records carry `segments`, as written in the file, if every annotation has one, and `keypoints`
        if they have names (an object without has zeros).

    Raises:
        ValueError: one line that names the file and the annotation, image or category at fault.
        FileNotFoundError: one line with the number of missing image files and the first of them.
    """
    content = _load(annotations)
    categories = _categories(content["categories"], annotations)
    pictures = _pictures(content["images"], annotations)
    keypoints = tuple(keypoints) or _keypoint_names(categories, annotations)
    classes, numbers, ignored = objects.numbered([category["name"] for category in categories], annotations)
    class_of = {category["id"]: numbers[category["name"]] for category in categories}
    found = _objects(content["annotations"], pictures, class_of, len(keypoints), annotations)

    paths = [os.path.join(images, picture["file_name"]) for picture in pictures.values()]
    files.require(paths, annotations)
    stated = [_stated_size(picture) for picture in pictures.values()]
    sizes = files.upright_sizes(paths, stated)

    dataset = Dataset(
        name=os.path.splitext(os.path.basename(annotations))[0],
        classes=classes,
        records=[],
        category_ids=[category_id for category_id, index in class_of.items() if index != objects.IGNORE],
        keypoints=keypoints,
        notes=ignored + _left_out(content["annotations"], keypoints, annotations),
        skeleton=_skeleton(categories, len(keypoints)),
    )
    masked = all(annotation.get("segmentation") for annotation in content["annotations"])
    for (image_id, rows), path, size, said in zip(found.items(), paths, sizes, stated, strict=True):
        poses = [row.get("keypoints") or [0] * 3 * len(keypoints) for row in rows]
        objects.add(
            dataset,
            image_id,
            path,
            size,
            boxes=[_corners(row["bbox"]) for row in rows],
            numbers=[class_of[row["category_id"]] for row in rows],
            place=lambda i, rows=rows, image=f"image {image_id} ({path})": (
                f"{annotations}: annotation {rows[i]['id']} of {image}, bbox {rows[i]['bbox']},"
            ),
            crowds=[row.get("iscrowd", 0) for row in rows],
            areas=[row.get("area") for row in rows],
            segments=[row["segmentation"] for row in rows] if masked else None,
            keypoints=moved(np.reshape(poses, (len(rows), len(keypoints), 3)), MIDDLE) if keypoints else None,
            stated_size=said,
        )
    return dataset


def content(dataset):
    """What a COCO annotation file of a data set holds, but for the names of its image files.

    Args:
        dataset: a `Dataset`.

    Returns:
        Dict of the lists `images`, `categories` and `annotations`, plain Python values; annotations are numbered from
        1, in the order of the records.
    """
    lines = [[start + 1, end + 1] for start, end in dataset.skeleton]
    described = {"keypoints": list(dataset.keypoints), "skeleton": lines} if dataset.keypoints else {}
    numbered = zip(dataset.category_ids, dataset.classes, strict=True)
    annotations = []
    for record in dataset.records:
        for index in range(len(record.boxes)):
            annotations.append({"id": len(annotations) + 1, **_annotation(record, index, dataset.category_ids)})
    return {
        "images": [{"id": record.id, "height": record.height, "width": record.width} for record in dataset.records],
        "categories": [{"id": number, "name": name, **described} for number, name in numbered],
        "annotations": annotations,
    }


def _annotation(record, index, category_ids):
    x1, y1, x2, y2 = record.boxes[index].tolist()
    found = {
        "image_id": record.id,
        "category_id": category_ids[record.classes[index]],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(record.areas[index]),
        "iscrowd": int(record.crowds[index]),
    }
    if record.segments is not None:
        found["segmentation"] = record.segments[index]
    if record.keypoints is not None:
        found["keypoints"] = moved(record.keypoints[index], -MIDDLE).ravel().tolist()
        found["num_keypoints"] = int((record.keypoints[index][:, 2] > 0).sum())
    return found


def moved(points, step):
    """Keypoints [..., 3], those that are labeled moved in x and y."""
    return points + np.float32([step, step, 0]) * (points[..., 2:] > 0)


def _load(path):
    text = files.text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a json file: {error}.") from None
    for key in ("images", "categories", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not a COCO annotation file: it has no list '{key}'.")
        if not content[key] and key != "annotations":
            raise ValueError(f"{path} has no {key}: the list is empty.")
    return content


def _categories(categories, path):
    for index, category in enumerate(categories):
        for key in ("id", "name"):
            if key not in category:
                raise ValueError(f"{path}: category number {index}, counted from 0, has no '{key}'.")
            if any(category[key] == other[key] for other in categories[:index]):
                raise ValueError(f"{path}: two categories have the {key} {category[key]!r}.")
    return sorted(categories, key=lambda category: category["id"])


def _pictures(images, path):
    pictures = {}
    for index, picture in enumerate(images):
        for key in ("id", "file_name"):
            if key not in picture:
                raise ValueError(f"{path}: image number {index}, counted from 0, has no '{key}'.")
        image_id = picture["id"]
        if not isinstance(image_id, int) or image_id < 0:
            faults.report(f"{path}: image id {image_id!r} of {picture['file_name']} is not an integer of 0 or more.")
        elif image_id in pictures:
            names = f"{pictures[image_id]['file_name']} and {picture['file_name']}"
            faults.report(f"{path}: two images have the id {image_id}: {names}.")
        else:
            pictures[image_id] = picture
    return pictures


def _keypoint_names(categories, path):
    names = {tuple(category["keypoints"]) for category in categories if category.get("keypoints")}
    if len(names) > 1:
        raise ValueError(f"{path}: categories differ in their keypoints, {sorted(names)}; a data set has one list.")
    return names.pop() if names else ()


def _skeleton(categories, points):
    """Pairs of keypoints, counted from 0, that the first category which names any joins; the file counts from 1."""
    lines = next((category["skeleton"] for category in categories if category.get("skeleton")), ())
    pairs = [tuple(number - 1 for number in line) for line in lines]
    return tuple(pair for pair in pairs if all(0 <= number < points for number in pair))


def _objects(annotations, pictures, class_of, points, path):
    """The checked annotations of every image."""
    found = {image_id: [] for image_id in pictures}
    seen = set()
    for index, annotation in enumerate(annotations):
        if "id" not in annotation:
            faults.report(f"{path}: annotation number {index}, counted from 0, has no 'id'.")
            continue
        fault = "occurs twice: ids must be unique" if annotation["id"] in seen else None
        fault = fault or _fault(annotation, pictures, class_of, points)
        if fault:
            faults.report(f"{path}: annotation {annotation['id']} {fault}.")
            continue
        seen.add(annotation["id"])
        found[annotation["image_id"]].append(annotation)
    return found


def _fault(annotation, pictures, class_of, points):
    """What is wrong with an annotation, in words, or None."""
    for key in ("image_id", "category_id", "bbox"):
        if key not in annotation:
            return f"has no '{key}'"
    if annotation["image_id"] not in pictures:
        return f"belongs to image {annotation['image_id']}, which is not among the images"
    if annotation["category_id"] not in class_of:
        return f"has category_id {annotation['category_id']}, which is not among the categories {list(class_of)}"
    if not _numbers(annotation["bbox"], 4):
        return f"has bbox {annotation['bbox']}: four finite numbers x, y, width, height are needed"
    if annotation.get("area") is not None and not _numbers([annotation["area"]], 1):
        return f"has area {annotation['area']}: a finite number is needed"
    if points and annotation.get("keypoints") and not _numbers(annotation["keypoints"], 3 * points):
        return f"has keypoints {annotation['keypoints']}: {points} times x, y, visibility are needed"
    return None


def _left_out(annotations, keypoints, path):
    """Notes on keypoints and masks that the file holds but the data set cannot."""
    notes = []
    if not keypoints and any(annotation.get("keypoints") for annotation in annotations):
        notes.append(f"{path}: keypoints are left out, for no category names them: pass `keypoints`.")
    bare = [annotation["id"] for annotation in annotations if not annotation.get("segmentation")]
    if 0 < len(bare) < len(annotations):
        notes.append(
            f"{path}: masks are left out, for {len(bare)} of {len(annotations)} annotations have no segmentation, "
            f"first annotation {bare[0]}."
        )
    return notes


def _numbers(values, count):
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    )


def _stated_size(picture):
    height, width = picture.get("height"), picture.get("width")
    return (int(height), int(width)) if height and width else None


def _corners(bbox):
    x, y, width, height = bbox
    return x, y, x + width, y + height
