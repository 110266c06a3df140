"""Which detection found which object: the pairs that error counts are made of."""

from pycocotools import mask


def by_image(truth, results, iou=0.5, above=0.5):
    """Pairs the objects of every image with its detections.

    The detections, best score first, each take the free object that overlaps them most, one of their own class before
    any other. Detections that take none and lie under a crowd of their class are left out.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file.
        results: list of COCO result dicts with `bbox`.
        iou: the overlap from which on a detection can take an object.
        above: the score from which on a detection counts.

    Returns:
        Dict of image id to a list of (category id of the object, category id of the detection); None for an object
        that was missed, and for a detection of nothing.
    """
    found = {}
    for one in results:
        if one["score"] >= above:
            found.setdefault(one["image_id"], []).append(one)
    return {number: _paired(truth.imgToAnns.get(number, []), found.get(number, []), iou) for number in truth.imgs}


def worst(truth, results, iou=0.5, above=0.5):
    """Ranks the images by their errors: objects missed, objects taken for another class, detections of nothing.

    Args:
        truth, results, iou, above: as in `by_image`.

    Returns:
        List of (image id, errors), most errors first; images without an error are left out.
    """
    wrong = {
        number: sum(actual != detected for actual, detected in found)
        for number, found in by_image(truth, results, iou, above).items()
    }
    return sorted(((n, errors) for n, errors in wrong.items() if errors), key=lambda one: (-one[1], one[0]))


def _paired(annotations, found, iou):
    objects = [one for one in annotations if not one.get("iscrowd")]
    crowds = [one for one in annotations if one.get("iscrowd")]
    free = list(range(len(objects)))
    taken = []
    for one in sorted(found, key=lambda one: -one["score"]):
        overlaps = _overlaps(one, objects)
        near = [index for index in free if overlaps[index] >= iou]
        if near:
            best = max(near, key=lambda index: (objects[index]["category_id"] == one["category_id"], overlaps[index]))
            free.remove(best)
            taken.append((objects[best]["category_id"], one["category_id"]))
        elif max(_overlaps(one, [crowd for crowd in crowds if _same_class(one, crowd)]), default=0) < iou:
            taken.append((None, one["category_id"]))
    return taken + [(objects[index]["category_id"], None) for index in free]


def _same_class(one, other):
    return one["category_id"] == other["category_id"]


def _overlaps(one, others):
    """IoU of a detection with each annotation; with a crowd, the share of the detection that lies under it."""
    if not others:
        return []
    crowds = [int(other.get("iscrowd", 0)) for other in others]
    return mask.iou([one["bbox"]], [other["bbox"] for other in others], crowds)[0]
