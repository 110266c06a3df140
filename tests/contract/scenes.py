"""Small batches for the contract suite."""

import numpy as np
import tensorflow as tf

SIDE = 96


def size(model):
    """(height, width) of what a detector sees of a picture of `SIDE` pixels a side."""
    return tuple(model.preprocess(tf.zeros([SIDE, SIDE, 3]))["pixels"].shape[:2])


def batch(*pictures, ids=None, proposals=False, size=(SIDE, SIDE)):
    """Noise pictures with given objects, as (images, objects); masks fill the boxes, two keypoints lie on the diagonal.

    Args:
        pictures: for each image a list of (x1, y1, x2, y2, class) or (..., class, True) for a crowd; as if the image
            had `SIDE` pixels a side.
        ids: image ids; 0, 1 ... by default.
        proposals: whether images carry those of `grid`.
        size: (height, width) of the images.
    """
    height, width = size
    scale = np.tile([width, height], 2) / SIDE
    count, most = len(pictures), max([len(p) for p in pictures] + [1])
    boxes = np.zeros([count, most, 4], np.float32)
    classes = np.full([count, most], -1, np.int32)
    crowds = np.zeros([count, most], bool)
    pixels = np.random.default_rng(0).integers(60, 90, [count, height, width, 3]).astype(np.float32)
    for i, objects in enumerate(pictures):
        for j, (x1, y1, x2, y2, kind, *crowd) in enumerate(objects):
            boxes[i, j], classes[i, j], crowds[i, j] = (x1, y1, x2, y2) * scale, kind, bool(crowd)
            x1, y1, x2, y2 = np.int32(boxes[i, j])
            pixels[i, y1:y2, x1:x2] = (230, 40, 60) if kind else (40, 90, 230)
    images = {
        "pixels": tf.constant(pixels),
        "windows": tf.constant([[0, 0, width, height]] * count, tf.float32),
        "frames": tf.constant([[1, 1, 0, 0]] * count, tf.float32),
        "ids": tf.constant(range(count) if ids is None else ids, tf.int64),
    }
    if proposals:
        images["proposals"] = tf.tile(tf.constant(grid(height, width))[None], [count, 1, 1])
    objects = {"boxes": boxes, "classes": classes, "crowds": crowds, "mask_frames": boxes}
    objects["masks"] = np.ones([count, most, 16, 16], np.uint8)
    corners = boxes.reshape(count, most, 2, 2)
    inside = 0.75 * corners + 0.25 * corners[:, :, ::-1]
    objects["keypoints"] = np.concatenate([inside, np.full_like(inside[..., :1], 2)], axis=-1)
    return images, {name: tf.constant(value) for name, value in objects.items()}


def grid(height, width):
    """Proposals [R, 4] float32 on a grid over a picture: squares and flat boxes of two sizes, cut at the border."""
    x, y = (step.ravel() for step in np.meshgrid(np.arange(1, 8) * width / 8, np.arange(1, 8) * height / 8))
    boxes = [
        [x - width / w, y - height / h, x + width / w, y + height / h] for w, h in ((4, 4), (8, 8), (4, 6), (5, 3))
    ]
    return np.float32(np.concatenate(boxes, axis=1).T.clip(0, [width, height, width, height]))


def scores(found, objects):
    """The best score with which each object of the first image was found, no corner more than 6 pixels off."""
    best = []
    for box, kind in zip(objects["boxes"][0].numpy(), objects["classes"][0].numpy(), strict=True):
        near = (found["classes"][0] == kind) & (np.abs(found["boxes"][0] - box).max(axis=1) < 6)
        best.append(found["scores"][0].numpy()[near].max(initial=0))
    return best


def total(model, images, objects, training=False):
    """The loss of a batch, a float."""
    terms = model.loss_terms(model.network(images, training=training), objects, images)
    return float(tf.add_n(list(terms.values())))


def costs(model, right, images, objects):
    """Checks what any dense detector's loss says of right outputs, and of boxes that move away from the objects.

    Args:
        model: a detector with the outputs `logits` and `deltas`, the terms "class" and "box".
        right: outputs that say what the targets are.
        images, objects: a batch.

    Returns:
        A function from changed outputs to the dict of loss terms, floats.
    """

    def cost(**changes):
        return {k: float(v) for k, v in model.loss_terms({**right, **changes}, objects, images).items()}

    assert abs(cost()["box"]) < 1e-6 and cost()["class"] < 1e-3
    shifts = [cost(deltas=right["deltas"] + s)["box"] for s in (0.05, 0.2, 0.5)]
    assert 1e-3 < shifts[0] < shifts[1] < shifts[2]
    return cost
