"""COCO annotation files, read and written: boxes, crowds, masks and keypoints."""

import json
import math
import os

import numpy as np

from kerasdet.data import faults, files, objects
from kerasdet.data.dataset import Dataset

# COCO's keypoints are pixel indices; in continuous coordinates the center of pixel 0 lies here.
MIDDLE = 0.5


def read(annotations, images, keypoints=()):
    """Reads a COCO instances or keypoints file.

    Classes are numbered 0...K-1 in the order of their category ids. An image without annotations is a background image.
    Boxes are clipped to the image; a box without area left is dropped, with a message in the data set's `notes`. Boxes
    refer to the upright picture, which is what annotation tools show, even if the file states the size of the picture
    before its EXIF rotation; that is noted too. A category named "ignore" or similar is not a class: it marks regions
    to ignore.

    Args:
        annotations: path of the JSON file.
        images: folder that the file names in the JSON file are relative to.
        keypoints: names of the P keypoints; by default those of the file's categories.

    Returns:
        `Dataset`. Its records carry `segments`, as written in the file, if every annotation has one, and `keypoints`
        if they have names (objects without keypoints get zeros).

    Raises:
        ValueError: names the file and the annotation, image or category at fault.
        FileNotFoundError: states the number of missing image files and the first of them.
    """
    content = _load(annotations)
    categories = _categories(content["categories"], annotations)
    pictures = _pictures(content["images"], annotations)
    keypoints = tuple(keypoints) or _keypoint_names(categories, annotations)
    classes, numbers, ignored = objects.numbered([category["name"] for category in categories], annotations)
    class_of = {category["id"]: numbers[category["name"]] for category in categories}
    rows_of = _by_image(content["annotations"], pictures, class_of, len(keypoints), annotations)

    paths = [os.path.join(images, picture["file_name"]) for picture in pictures.values()]
    files.require(paths, annotations)
    stated_sizes = [_stated_size(picture) for picture in pictures.values()]
    sizes = files.upright_sizes(paths, stated_sizes)

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
    for (image_id, rows), path, size, stated_size in zip(rows_of.items(), paths, sizes, stated_sizes, strict=True):
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
            stated_size=stated_size,
        )
    return dataset


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


def _load(path):
    text = files.text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}.") from None
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
                raise ValueError(f"{path}: two categories have the same {key} {category[key]!r}.")
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
            faults.report(f"{path}: two images have the same id {image_id}: {names}.")
        else:
            pictures[image_id] = picture
    return pictures


def _keypoint_names(categories, path):
    names = {tuple(category["keypoints"]) for category in categories if category.get("keypoints")}
    if len(names) > 1:
        raise ValueError(f"{path}: categories differ in their keypoints, {sorted(names)}; they must share one list.")
    return names.pop() if names else ()


def _skeleton(categories, points):
    """The skeleton of the first category that has one: pairs of keypoints, counted from 0 (from 1 in the file)."""
    lines = next((category["skeleton"] for category in categories if category.get("skeleton")), ())
    pairs = [tuple(keypoint - 1 for keypoint in line) for line in lines]
    return tuple(pair for pair in pairs if all(0 <= keypoint < points for keypoint in pair))


def _by_image(annotations, pictures, class_of, points, path):
    """The checked annotations of every image."""
    rows_of = {image_id: [] for image_id in pictures}
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
        rows_of[annotation["image_id"]].append(annotation)
    return rows_of


def _fault(annotation, pictures, class_of, points):
    """Says what is wrong with an annotation, or returns None."""
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
    """Notes on keypoints and masks that the file holds but the data set drops."""
    notes = []
    if not keypoints and any(annotation.get("keypoints") for annotation in annotations):
        notes.append(f"{path}: keypoints are dropped because no category defines them: pass `keypoints`.")
    maskless = [annotation["id"] for annotation in annotations if not annotation.get("segmentation")]
    if 0 < len(maskless) < len(annotations):
        notes.append(
            f"{path}: masks are dropped because {len(maskless)} of {len(annotations)} annotations have no "
            f"segmentation, first annotation {maskless[0]}."
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
