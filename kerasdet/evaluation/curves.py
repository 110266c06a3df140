"""Curves of an evaluation at IoU 0.5, for every class: precision over recall, and F1 over the score threshold."""

import numpy as np

from kerasdet.evaluation import coco

# The score thresholds at which F1 is computed.
SCORES = np.arange(1, 100) / 100


def precision(evaluation):
    """Returns the precision of each class that has objects, for objects of all sizes.

    Args:
        evaluation: an accumulated evaluation from `coco.evaluate`.

    Returns:
        Dict of class name to [101] floats in 0...1, the precision at the recalls 0, 0.01 ... 1.
    """
    values = evaluation.eval["precision"][0, :, :, 0, -1]
    names = coco.class_names(evaluation)
    return {name: values[:, index] for index, name in enumerate(names) if values[0, index] > -1}


def f1(evaluation):
    """Returns F1, the harmonic mean of precision and recall, of each class that has objects.

    Args:
        evaluation: as in `precision`.

    Returns:
        Dict of class name to [99] floats in 0...1: F1 if only detections of a score of at least 0.01, 0.02 ... 0.99
        count.
    """
    found = {}
    for name, (shown, right, objects) in counts(evaluation).items():
        found[name] = 2 * right / (shown + objects)
    return found


def counts(evaluation):
    """Counts the detections of each class that has objects.

    Args:
        evaluation: as in `precision`.

    Returns:
        Dict of class name to (detections [99], right ones among them [99], number of objects): the detections of a
        score of at least 0.01, 0.02 ... 0.99; crowds, and detections under them, are not counted.
    """
    ranges, pictures = len(evaluation.params.areaRng), len(evaluation.params.imgIds)
    found = {}
    for index, name in enumerate(coco.class_names(evaluation)):
        start = index * ranges * pictures  # the first range of areas contains all objects
        matched = [one for one in evaluation.evalImgs[start : start + pictures] if one is not None]
        objects = sum(int(np.sum(np.logical_not(one["gtIgnore"]))) for one in matched)
        if objects:
            scores = np.concatenate([one["dtScores"] for one in matched])
            right = np.concatenate([one["dtMatches"][0] > 0 for one in matched])
            counted = np.concatenate([np.logical_not(one["dtIgnore"][0]) for one in matched])
            shown = (scores >= SCORES[:, None]) & counted
            found[name] = shown.sum(axis=1), (shown & right).sum(axis=1), objects
    return found


def threshold(evaluation):
    """Finds the best score threshold for showing detections: the one with the highest mean F1 over classes.

    Args:
        evaluation: as in `precision`.

    Returns:
        (score in 0.01...0.99, its F1 in 0...1); (0.5, 0.0) if nothing was found.
    """
    every = list(f1(evaluation).values())
    mean = np.mean(every, axis=0) if every else np.zeros(len(SCORES))
    if mean.max() == 0:
        return 0.5, 0.0
    # Between two scores F1 is constant: the middle of the plateau is farthest from scores that would change it.
    best = np.flatnonzero(mean >= mean.max() - 1e-9)
    return float(SCORES[best[len(best) // 2]]), float(mean.max())
