"""Anchors that fit a data set: k-means under 1 - IoU, and from it the arguments of a detector's anchors."""

import itertools

import numpy as np

from kerasdet import anchors

# Smallest sizes of a level that are tried, in strides.
_SCALES = tuple(2 ** (i / 4) for i in range(-2, 15))
_SAMPLE = 500
# One anchor more a cell must reach this share of the objects more: each costs time and adds background.
_WORTH = 0.01
# What reaches no more than this share of the objects more is as good as what is at hand.
_GAIN = 0.05
# A ratio below is as good as that of a square.
_SQUARE = 1.2


def iou(sizes, others):
    """Overlaps of boxes with one center.

    Args:
        sizes: [N, 2] widths and heights, pixels.
        others: [M, 2].

    Returns:
        [N, M] in 0...1.
    """
    shared = _area(np.minimum(sizes[:, None], others[None]))
    return shared / (_area(sizes)[:, None] + _area(others)[None] - shared)


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


def overlaps(boxes, strides, shapes):
    """The best IoU of each object with anchors on grids, among those whose centers lie nearest.

    Args:
        boxes: [N, 4] of any unit.
        strides: for every grid the distance of its centers: a number, or an array [N, 2], x and y for each box.
        shapes: for every grid [K, 2], the anchors' widths and heights.

    Returns:
        [N] in 0...1.
    """
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    for stride, own in zip(strides, shapes, strict=True):
        off = np.abs(centers - (np.floor(centers / stride) + 0.5) * stride)
        best = np.maximum(best, _shifted(sides[:, None], np.asarray(own)[None], off[:, None]).max(1))
    return best


def unreachable(boxes, stride, positive):
    """Objects so small that even an anchor of their own size and shape misses them: between two centers of a grid.

    Args:
        boxes: [N, 4] of any unit, with area.
        stride: distance of the centers, a number or an array [N, 2].
        positive: the IoU by which an anchor reaches an object, 0...1.

    Returns:
        [N] bool.
    """
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    off = np.abs(centers - (np.floor(centers / stride) + 0.5) * stride)
    return _shifted(sides, sides, off) < positive


def _shifted(sides, others, off):
    """IoU of boxes whose centers lie `off` apart."""
    x, y = np.moveaxis(np.minimum(np.minimum(sides, others), np.maximum((sides + others) / 2 - off, 0)), -1, 0)
    return x * y / (_area(sides) + _area(others) - x * y)


def _area(sides):
    return sides[..., 0] * sides[..., 1]  # many times as fast as a product over an axis of two


def fit_octaves(boxes, levels, octaves, ratios, scale, positive):
    """Finds octaves of anchors on a pyramid, as in RetinaNet, that reach more objects.

    Args:
        boxes: [N, 4], network pixels.
        levels, octaves, ratios, scale: the anchors at hand, see `anchors.octaves`; the first level stays.
        positive: the IoU by which an anchor reaches an object, 0...1.

    Returns:
        Dict of `levels`, `octaves`, `ratios` and `scale`; None where what is at hand is as good.
    """
    boxes = boxes[_sample(boxes)]

    def layout(levels, octaves, ratios, scale):
        strides = [2**level for level in range(levels[0], levels[1] + 1)]
        return strides, anchors.shapes(anchors.octaves(strides, scale, octaves), ratios)

    now = {"levels": tuple(levels), "octaves": octaves, "ratios": tuple(ratios), "scale": scale}
    lasts, scales = (levels[1], levels[1] + 1), dict.fromkeys((scale, *(round(one, 2) for one in _SCALES)))
    others = [
        {"levels": (levels[0], last), "octaves": count, "ratios": own, "scale": smallest}
        for last, count, own, smallest in itertools.product(lasts, (1, 2, 3), _ratio_sets(boxes, ratios), scales)
    ]
    return _best(boxes, positive, layout, now, others)


def fit_sizes(boxes, strides, sizes, ratios, positive):
    """Finds sizes and ratios of a proposal network's anchors that reach more objects.

    On a pyramid sizes double from level to level (FPN, section 4.1); on a single map they lie between the objects' own.

    Args:
        boxes: [N, 4], network pixels.
        strides: of every level, pixels.
        sizes, ratios: the anchors at hand, see `anchors.shapes`.
        positive: the IoU by which an anchor reaches an object, 0...1.

    Returns:
        Dict of `sizes` and `ratios`; None where what is at hand is as good.
    """
    boxes = boxes[_sample(boxes)]

    def layout(sizes, ratios):
        return strides, anchors.shapes(sizes, ratios)

    if len(strides) > 1:
        tried = [
            [[scale * stride * 2 ** (i / count) for i in range(count)] for stride in strides]
            for count, scale in itertools.product((1, 2, 3), _SCALES)
        ]
    else:
        tried = [[np.geomspace(*ends, count)] for ends in _ends(_sides(boxes)) for count in range(1, 6)]
    whole = dict.fromkeys(tuple(tuple(sorted({max(round(size), 1) for size in own})) for own in one) for one in tried)
    others = [{"sizes": one, "ratios": own} for one, own in itertools.product(whole, _ratio_sets(boxes, ratios))]
    return _best(boxes, positive, layout, {"sizes": tuple(map(tuple, sizes)), "ratios": tuple(ratios)}, others)


def fit_scales(boxes, cells, scales, ratios, positive, tensorflow_boxes=None, clip=False):
    """Finds scales and ratios of SSD's default boxes that reach more objects.

    Scales rise between quantiles of the objects' own, evenly (SSD, equation 4) or by one factor from map to map. They
    at least treble, because the last maps' cells are too coarse and the first maps' view too narrow for all sizes.

    Args:
        boxes: [N, 4], in parts of their pictures' sides.
        cells: [N, maps, 2], rows and columns of every map in the picture of each box.
        scales, ratios, tensorflow_boxes, clip: the boxes at hand, see `anchors.default_shapes` and, where
            `tensorflow_boxes` is not None, `anchors.default_shapes_tf`.
        positive: the IoU by which a box reaches an object, 0...1.

    Returns:
        Dict of `scales`, `ratios` and, where it is not None, `tensorflow_boxes`; None where what is at hand is as good.
    """
    sample = _sample(boxes)
    boxes, strides = boxes[sample], list(np.moveaxis(1.0 / cells[sample][..., ::-1], 1, 0))

    def layout(scales, ratios, tensorflow_boxes=None):
        if tensorflow_boxes is None:
            return strides, anchors.default_shapes(scales, ratios, clip)
        return strides, anchors.default_shapes_tf(scales, ratios, tensorflow_boxes)

    def form(scales, ratios, least):
        arguments = {"scales": tuple(round(float(scale), 3) for scale in scales), "ratios": ratios}
        return arguments if least is None else {**arguments, "tensorflow_boxes": round(float(least), 3)}

    # Every ratio gives a wide and a tall box, every map has squares.
    tall = np.concatenate([np.zeros_like(boxes[:, :2]), np.sort(boxes[:, 2:] - boxes[:, :2], axis=1)], axis=1)
    own = [tuple(ratio for ratio in ratios if ratio > _SQUARE) for ratios in _ratio_sets(tall, ())]
    own = [(one,) * len(ratios) for one in own if one or tensorflow_boxes is None]
    others = []
    for (low, high), spread in itertools.product(_ends(_sides(boxes)), (np.linspace, np.geomspace)):
        rising = spread(min(low, high / 3), high, len(scales))
        least = None if tensorflow_boxes is None else rising[0] / 2
        others += [form(rising, one, least) for one in dict.fromkeys((tuple(map(tuple, ratios)), *own))]
    return _best(boxes, positive, layout, form(scales, tuple(map(tuple, ratios)), tensorflow_boxes), others)


def fit_shapes(boxes, shapes, positive, unit=1.0):
    """Finds as many shapes as there are, by `kmeans`, that are nearer to the objects (YOLOv2, section 2).

    Args:
        boxes: [N, 4], network pixels.
        shapes: the (width, height) at hand.
        positive: the IoU from which a shape suits an object, 0...1.
        unit: pixels of one of `shapes`' numbers.

    Returns:
        Tuple of (width, height); None where what is at hand suits as many objects.
    """
    boxes = boxes[_sample(boxes)]
    if not len(boxes):
        return None
    sides = boxes[:, 2:] - boxes[:, :2]
    centers, _ = kmeans(sides, len(shapes))
    if len(centers) < len(shapes):
        return None  # fewer sizes than shapes
    before, after = (np.mean(iou(sides, own).max(1) >= positive) for own in (np.multiply(shapes, unit), centers))
    if after <= before + _GAIN:
        return None
    return tuple((round(float(width / unit), 2), round(float(height / unit), 2)) for width, height in centers)


def _best(boxes, positive, layout, now, others):
    """Of arguments that reach more than those at hand, the ones that are most worth their anchors; or None."""
    if not len(boxes):
        return None

    def judged(arguments):
        strides, shapes = layout(**arguments)
        best = overlaps(boxes, strides, shapes)
        areas = [np.mean(np.square(stride)) for stride in strides]
        count = sum(len(own) * areas[0] / area for own, area in zip(shapes, areas, strict=True))
        reach = np.mean(best >= positive)
        return reach, reach - _WORTH * count, np.mean(best)

    reach, worth, _ = judged(now)
    found = [(judged(arguments), arguments) for arguments in others]
    better = [one for one in found if one[0][0] > reach + _GAIN and one[0][1] > worth]
    return max(better, key=lambda one: one[0][1:])[1] if better else None


def _sample(boxes):
    """Indices of at most so many boxes with area."""
    real = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    return real if len(real) <= _SAMPLE else np.sort(np.random.default_rng(0).choice(real, _SAMPLE, replace=False))


def _sides(boxes):
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))


def _ends(sides):
    """Pairs of a smaller and a larger size between which those of the objects lie."""
    if not len(sides):
        return []
    low, high = np.quantile(sides, (0.01, 0.05, 0.1, 0.25, 0.5)), np.quantile(sides, (0.5, 0.75, 0.9, 0.95, 1.0))
    return list(itertools.product(low, high))


def _ratio_sets(boxes, ratios):
    """Heights over widths to try: those at hand, and of 1 to 5 clusters of the objects' shapes at unit area."""
    sides = boxes[:, 2:] - boxes[:, :2]
    shapes = sides / np.sqrt(sides.prod(-1, keepdims=True))
    clusters = [kmeans(shapes, k)[0] for k in range(1, 6)] if len(boxes) else []
    found = [tuple(sorted({round(float(height / width), 2) for width, height in own})) for own in clusters]
    return list(dict.fromkeys((tuple(ratios), *found)))
