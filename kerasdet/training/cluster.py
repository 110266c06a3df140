"""Anchors that fit a data set: k-means under 1 - IoU, and from it the arguments of an anchor pyramid."""

import itertools

import numpy as np

from kerasdet import anchors

# Share of objects that an anchor should overlap by the positive threshold.
ENOUGH = 0.95
_SCALES = tuple(2 ** (i / 4) for i in range(-2, 13))
_SAMPLE = 1000


def iou(sizes, others):
    """Overlaps of boxes with one center.

    Args:
        sizes: [N, 2] widths and heights, pixels.
        others: [M, 2].

    Returns:
        [N, M] in 0...1.
    """
    shared = np.minimum(sizes[:, None], others[None]).prod(-1)
    return shared / (sizes.prod(-1)[:, None] + others.prod(-1)[None] - shared)


def kmeans(sizes, k, seed=0, starts=10):
    """Clusters sizes by the distance 1 - IoU, each cluster's center being its mean (YOLOv2, section 2).

    Args:
        sizes: [N, 2] widths and heights, pixels, above 0.
        k: number of clusters; at most the number of different sizes are found.
        seed: of the starts.
        starts: the best of this many, begun as k-means++ does.

    Returns:
        [K, 2] centers by rising area, and the mean IoU of every size with its nearest.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    k = min(k, len(np.unique(sizes, axis=0)))
    rng = np.random.default_rng(seed)
    runs = [_lloyd(sizes, _spread(sizes, k, rng)) for _ in range(starts)]
    centers, mean = max(runs, key=lambda run: run[1])
    return centers[np.argsort(centers.prod(-1), kind="stable")], mean


def _spread(sizes, k, rng):
    """The first centers: each drawn by its distance to those before."""
    centers = sizes[rng.integers(len(sizes))][None]
    while len(centers) < k:
        distance = (1 - iou(sizes, centers).max(1)) ** 2
        centers = np.concatenate([centers, sizes[rng.choice(len(sizes), p=distance / distance.sum())][None]])
    return centers


def _lloyd(sizes, centers):
    """Moves centers to the means of what is nearest until none moves; that may lower the IoU, so the best are kept."""
    best_mean = -1.0
    for _ in range(100):
        nearest = iou(sizes, centers).argmax(1)
        taken = [sizes[nearest == i] for i in range(len(centers))]
        moved = np.stack([own.mean(0) if len(own) else center for own, center in zip(taken, centers, strict=True)])
        mean = iou(sizes, moved).max(1).mean()
        if mean > best_mean:
            best, best_mean = moved, mean
        if np.array_equal(moved, centers):
            break
        centers = moved
    return best, best_mean


def overlaps(boxes, levels, octaves, ratios, scale):
    """The best IoU of each object with the anchors of a pyramid, among those whose centers lie nearest.

    Args:
        boxes: [N, 4], network pixels.
        levels, octaves, ratios, scale: of the pyramid, see `anchors.Anchors` and `anchors.octaves`.

    Returns:
        [N] in 0...1.
    """
    boxes = np.asarray(boxes, np.float64)
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    for i, sizes in enumerate(anchors.octaves([2**i for i in range(levels[0], levels[1] + 1)], scale, octaves)):
        stride = 2 ** (levels[0] + i)
        off = np.abs(centers - (np.floor(centers / stride) + 0.5) * stride)[:, None]
        cells = np.array([[s / r**0.5, s * r**0.5] for s, r in itertools.product(sizes, ratios)])
        shared = np.minimum(np.minimum(sides[:, None], cells), np.maximum((sides[:, None] + cells) / 2 - off, 0))
        shared = shared.prod(-1)
        best = np.maximum(best, (shared / (sides.prod(-1)[:, None] + cells.prod(-1) - shared)).max(1))
    return best


def fit(boxes, levels, octaves, ratios, scale, positive=0.5, seed=0):
    """Finds the smallest anchor pyramid that reaches the objects.

    The ratios tried are those given and k-means of the objects' shapes at unit area, for 1 to 5 clusters. Of the
    pyramids that reach all but a hundredth of what the best one reaches, the one with the fewest anchors a cell is
    taken, and of these the one that overlaps the objects most.

    Args:
        boxes: [N, 4], network pixels.
        levels, octaves, ratios, scale: the pyramid at hand; its first level stays.
        positive: the IoU by which an anchor reaches an object, 0...1.
        seed: of the sample of objects and of k-means.

    Returns:
        Dict of `levels`, `octaves`, `ratios` and `scale`.
    """
    boxes = np.asarray(boxes, np.float64)
    if len(boxes) > _SAMPLE:
        boxes = boxes[np.sort(np.random.default_rng(seed).choice(len(boxes), _SAMPLE, replace=False))]
    sides = boxes[:, 2:] - boxes[:, :2]
    shapes = sides / np.sqrt(sides.prod(-1, keepdims=True))
    shaped = [tuple(ratios)] + [_ratios(shapes, k, seed) for k in range(1, 6)]
    tried = []
    for last, count, tall, size in itertools.product(
        (levels[1], levels[1] + 1), (1, 2, 3), dict.fromkeys(shaped), (scale, *_SCALES)
    ):
        pyramid = {"levels": (levels[0], last), "octaves": count, "ratios": tall, "scale": round(float(size), 2)}
        best = overlaps(boxes, **pyramid)
        cost = count * len(tall) + (last > levels[1]) / 2
        tried.append((np.mean(best >= positive), -cost, np.mean(best), pyramid))
    enough = max(reach for reach, *_ in tried) - 0.01
    return max((one for one in tried if one[0] >= enough), key=lambda one: one[1:3])[3]


def _ratios(shapes, k, seed):
    """Heights over widths of k clusters of shapes, rising."""
    centers, _ = kmeans(shapes, k, seed)
    return tuple(sorted({round(float(height / width), 2) for width, height in centers}))
