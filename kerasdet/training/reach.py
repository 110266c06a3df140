"""How well a detector's anchors fit a data set: which objects they reach, and what would reach more."""

import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import clusters
from kerasdet.data import pipeline

# Share of objects that an anchor should reach, or what would reach more is looked for.
ENOUGH = 0.95
# An anchor of this IoU is a fair start even where the match asks for more, because the best anchors of an object learn
# too: of COCO's objects the published anchors of Faster R-CNN reach 0.37 by its 0.7 and 0.87 by 0.5.
_FAIR = 0.5
# Share of objects too small for the finest map, from which on larger pictures are the cure.
TINY = 0.1
# What `match` takes, of one picture of any size.
_IMAGES = {
    "pixels": tf.TensorSpec([1, None, None, 3], tf.float32),
    "windows": tf.TensorSpec([1, 4], tf.float32),
    "frames": tf.TensorSpec([1, 4], tf.float32),
    "ids": tf.TensorSpec([1], tf.int64),
}
_OBJECTS = {
    "boxes": tf.TensorSpec([1, None, 4], tf.float32),
    "classes": tf.TensorSpec([1, None], tf.int32),
    "crowds": tf.TensorSpec([1, None], tf.bool),
}


def targets(model, dataset, transforms=(), images=200, seed=0):
    """The objects of some pictures as the network gets them, after transforms and `preprocess`.

    Args:
        model: a `Detector`.
        dataset: a `Dataset`.
        transforms: tuples of `data.transforms`.
        images: at most so many pictures, drawn at random.
        seed: of the draw.

    Returns:
        For each picture (images, objects), the dicts of `contract` as arrays, of batches of one; its pixels are blank.
    """
    stream = pipeline.load(dataset, model.preprocess, 1, training=True, transforms=transforms, seed=seed)
    seen = []
    with pipeline.named(dataset):
        for picture, objects in stream.take(min(images, len(dataset))):
            # A view of one number: only the shape is of interest, and hundreds of pictures would fill the memory.
            blank = np.broadcast_to(np.float32(0), picture["pixels"].shape)
            others = {name: picture[name].numpy() for name in ("windows", "frames", "ids")}
            seen.append(({"pixels": blank, **others}, {name: objects[name].numpy() for name in _OBJECTS}))
    return seen


def real_objects(seen):
    """The objects of all pictures in their order, without crowds.

    Args:
        seen: what `targets` returned.

    Returns:
        boxes [N, 4] float32, network pixels; sizes [N, 2] int, height and width of each box's network image.
    """
    own = [objects["boxes"][0][_real(objects)] for _, objects in seen]
    sizes = [images["pixels"].shape[1:3] for images, _ in seen]
    each = [len(boxes) for boxes in own]
    return np.concatenate([np.zeros((0, 4), np.float32), *own]), np.repeat(np.reshape(sizes, [-1, 2]), each, axis=0)


def overlaps(model, seen):
    """Each object's best overlap with an anchor that learns, by the detector's own `match`.

    Args:
        model: a `Detector`.
        seen: what `targets` returned.

    Returns:
        [N] float32 in 0...1, in the order of `real_objects`; None where the detector has no anchors.
    """
    match = tf.function(model.match, input_signature=(_OBJECTS, _IMAGES))
    best = [np.zeros(0, np.float32)]
    for images, objects in seen:
        found = match(objects, images)
        if found is None:
            return None
        best.append(best_overlaps(objects["boxes"][0][_real(objects)], learning(*found)[0]))
    return np.concatenate(best)


def learning(anchors, match):
    """The anchors that learn an object.

    Args:
        anchors, match: what `Detector.match` returned.

    Returns:
        For each picture an array [P, 4].
    """
    positive = np.asarray(match.positive)
    return [own[chosen] for own, chosen in zip(np.broadcast_to(anchors, (*positive.shape, 4)), positive, strict=True)]


def best_overlaps(boxes, anchors):
    """The greatest IoU of each box with some anchors.

    Args:
        boxes: [N, 4].
        anchors: [P, 4]; P may be 0.

    Returns:
        [N] float32 in 0...1.
    """
    return np.max(box.iou(boxes, anchors), axis=1, initial=0.0)


def fair_start(model, best):
    """Which objects some anchor overlaps well enough to learn from.

    Args:
        model: a `Detector` with anchors.
        best: what `overlaps` returned.

    Returns:
        [N] bool, and the IoU that was asked for: `positive_iou`, but no more than 0.5.
    """
    least = min(model.positive_iou, _FAIR)
    return best >= least, least


def finest_cell(model, size):
    """The side of a cell of the finest map that anchors stand on, network pixels.

    Args:
        model: a `Detector` with anchors.
        size: (height, width) of a network image.
    """
    return min(max(size[0] / rows, size[1] / columns) for rows, columns in model.anchors.grids(size))


def advice(model, seen, best):
    """What makes the anchors reach more objects.

    Args:
        model: a `Detector` with anchors.
        seen: what `targets` returned.
        best: what `overlaps` returned for it.

    Returns:
        A line: what to put into the config's `model`, with the share reached before and after, and whether larger
        pictures are needed; None where nothing would help.
    """
    boxes, sizes = real_objects(seen)
    cures, before = [], np.mean(best >= model.positive_iou)
    better = model.fitted(boxes, sizes)
    if better is not None:
        # The search is an estimate; what is printed is what such a model's own match gives.
        twin = type(model).from_config({**model.get_config(), **better})
        after = np.mean(overlaps(twin, seen) >= twin.positive_iou)
        if after > before:
            line = ", ".join(f'"{name}": {value}' for name, value in better.items())
            cures.append(f"put into the config's model: {line}  (reached {before:.3f} -> {after:.3f})")
    cells = np.array([finest_cell(model, size) for size in sizes.tolist()])
    lost = np.mean(clusters.unreachable(boxes, cells[:, None], min(model.positive_iou, _FAIR)))
    if lost > TINY:
        cures.append(
            f"give the network larger pictures than resize={model.resize}, or tiles: {lost:.0%} of the objects are too "
            f"small for any anchor on cells of {np.median(cells):.0f} network pixels"
        )
    return "; ".join(cures) or None


def _real(objects):
    return (objects["classes"][0] >= 0) & ~objects["crowds"][0]
