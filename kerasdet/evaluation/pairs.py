"""Pairs detections with objects, for counting errors."""

from pycocotools import mask


def by_image(truth, results, iou=0.5, above=0.5):
    """Pairs the objects of every image with its detections.

    In order of their scores, detections take the unmatched object that overlaps them most, preferring their own class.
    Detections that match no object and lie under a crowd of their class are left out.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file.
        results: list of COCO result dicts with `bbox`.
        iou: minimum overlap of a detection with its object.
        above: minimum score of a detection.

    Returns:
        Dict of image id to a list of (category id of the object, category id of the detection). The second is None for
        a missed object, the first for a detection of background.
    """
    detections = {}
    for result in results:
        if result["score"] >= above:
            detections.setdefault(result["image_id"], []).append(result)
    return {i: _paired(truth.imgToAnns.get(i, []), detections.get(i, []), iou) for i in truth.imgs}


def worst(truth, results, iou=0.5, above=0.5):
    """Ranks the images by their errors: missed objects, objects of the wrong class, detections of background.

    Args:
        truth, results, iou, above: as in `by_image`.

    Returns:
        List of (image id, errors), most errors first; images without errors are left out.
    """
    wrong = {
        image_id: sum(actual != detected for actual, detected in image_pairs)
        for image_id, image_pairs in by_image(truth, results, iou, above).items()
    }
    return sorted(((i, errors) for i, errors in wrong.items() if errors), key=lambda pair: (-pair[1], pair[0]))


def _paired(annotations, detections, iou):
    objects = [annotation for annotation in annotations if not annotation.get("iscrowd")]
    crowds = [annotation for annotation in annotations if annotation.get("iscrowd")]
    unmatched = list(range(len(objects)))
    matched = []
    for detection in sorted(detections, key=lambda detection: -detection["score"]):
        overlaps = _overlaps(detection, objects)
        candidates = [index for index in unmatched if overlaps[index] >= iou]
        if candidates:
            best = max(candidates, key=lambda index: (_same_class(detection, objects[index]), overlaps[index]))
            unmatched.remove(best)
            matched.append((objects[best]["category_id"], detection["category_id"]))
        elif max(_overlaps(detection, [crowd for crowd in crowds if _same_class(detection, crowd)]), default=0) < iou:
            matched.append((None, detection["category_id"]))
    return matched + [(objects[index]["category_id"], None) for index in unmatched]


def _same_class(detection, annotation):
    return detection["category_id"] == annotation["category_id"]


def _overlaps(detection, annotations):
    """IoU of a detection with each annotation; for a crowd, the share of the detection that lies under it."""
    if not annotations:
        return []
    crowds = [int(annotation.get("iscrowd", 0)) for annotation in annotations]
    return mask.iou([detection["bbox"]], [annotation["bbox"] for annotation in annotations], crowds)[0]
