"""What the fields of a COCO file may hold: each is checked where it is read, in one line that names what is wrong."""

import math
import re

from kerasdet.data import faults, files, objects


def load(path):
    """The content of a COCO file, whose three lists hold dicts.

    Raises:
        ValueError: one line that names the file and what it lacks.
    """
    content = files.load_json(path)
    for key in ("images", "categories", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not a COCO annotation file: it has no list '{key}'.")
        if not content[key] and key != "annotations":
            raise ValueError(f"{path} has no {key}: the list is empty.")
        wrong = next((i for i, one in enumerate(content[key]) if not isinstance(one, dict)), None)
        if wrong is not None:
            raise ValueError(
                f"{path}: number {wrong} of its {key}, counted from 0, is no dict: {content[key][wrong]!r}."
            )
    return content


def id_key(value):
    """An id as a key: 3, 3.0 and "3" are one; None if it is no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?\d{1,30}", text, re.ASCII) else text or None


def categories(listed, used, path):
    """The categories that are classes, in the order of their ids.

    Args:
        listed: the file's list.
        used: set of the ids, as of `id_key`, that annotations have; a group that none has is no class.
        path: of the file, for messages.

    Returns:
        List of the categories' dicts, `id` as of `id_key` and `name` as text.

    Raises:
        ValueError: an id or a name is missing or occurs twice.
    """
    found = []
    for index, category in enumerate(listed):
        category_id, name = id_key(category.get("id")), category.get("name")
        place = f"{path}: category number {index}, counted from 0,"
        if category_id is None:
            raise ValueError(f"{place} has no 'id' that is a number or text: {category.get('id')!r}.")
        if isinstance(name, bool) or not isinstance(name, (str, int, float)) or not str(name).strip():
            raise ValueError(f"{place} has no 'name' that is a number or text: {name!r}.")
        found.append({**category, "id": category_id, "name": str(name)})
    groups = {category.get("supercategory") for category in found if isinstance(category.get("supercategory"), str)}
    # An exporter's root: it groups others, and nothing is labeled with it.
    owners = {one["name"] for one in found if one["name"] in groups and one["id"] not in used}
    owners -= {one["name"] for one in found if one.get("supercategory") == one["name"]}
    found = [one for one in found if one["name"] not in owners] or found
    for key in ("id", "name"):
        values = [one[key] for one in found]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ValueError(f"{path}: two categories have the same {key} {twice!r}.")
    return sorted(found, key=lambda one: (isinstance(one["id"], str), one["id"]))


def keypoint_names(categories, path):
    """Names of the keypoints, which all categories that have some share; empty if none has.

    Raises:
        ValueError: they differ.
    """
    names = {tuple(category["keypoints"]) for category in categories if category.get("keypoints")}
    if len(names) > 1:
        raise ValueError(f"{path}: categories differ in their keypoints, {sorted(names)}; they must share one list.")
    return names.pop() if names else ()


def skeleton(categories, points):
    """The skeleton of the first category that has one: pairs of keypoints, counted from 0 (from 1 in the file)."""
    lines = next((category["skeleton"] for category in categories if category.get("skeleton")), ())
    pairs = [tuple(keypoint - 1 for keypoint in line) for line in lines]
    return tuple(pair for pair in pairs if all(0 <= keypoint < points for keypoint in pair))


def fault(annotation, pictures, class_of, points):
    """Says what is wrong with an annotation, or returns None."""
    for key in ("image_id", "category_id", "bbox"):
        if key not in annotation:
            return f"has no '{key}'"
    if id_key(annotation["image_id"]) not in pictures:
        return f"belongs to image {annotation['image_id']}, which is not among the images"
    if id_key(annotation["category_id"]) not in class_of:
        return f"has category_id {annotation['category_id']}, which is not among the categories {list(class_of)}"
    if not _numbers(annotation["bbox"], 4):
        return f"has bbox {annotation['bbox']}: four finite numbers x, y, width, height are needed"
    if annotation.get("area") is not None and not _numbers([annotation["area"]], 1):
        return f"has area {annotation['area']}: a finite number is needed"
    if objects.flag(annotation.get("iscrowd", 0)) is None:
        return f"has iscrowd {annotation['iscrowd']!r}: 0 or 1 is needed"
    if points and annotation.get("keypoints") and not _numbers(annotation["keypoints"], 3 * points):
        return f"has keypoints {annotation['keypoints']}: {points} times x, y, visibility are needed"
    return None


def _numbers(values, count):
    return isinstance(values, list) and len(values) == count and all(map(objects.is_finite, values))


def stated_size(picture, path):
    """(height, width) of an image of the file, or None where it does not state them, or not in numbers (reported)."""
    sides = []
    for key in ("height", "width"):
        value = picture.get(key) or 0
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not 0 <= number < 2**31:
            faults.report(f"{path}: image {picture['file_name']} has {key} {value!r}: a number of pixels is needed.")
            return None
        sides.append(round(number))
    return tuple(sides) if all(sides) else None
