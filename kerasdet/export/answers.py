"""The outputs of exported models: detections, named as in TensorFlow's Object Detection API, and facts of the model."""

import json

import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import images as image

FACTS = ("classes", "resize", "multiple", "suppression", "needs_proposals", "needs_masks", "num_keypoints")


def to_pixels(detect, preprocess, pixels, *proposals):
    """Detects in pictures of one size.

    Args:
        detect: `to_images` of a `Detector`.
        preprocess: its `preprocess`, or another function with the same signature.
        pixels: [B, H, W, 3] uint8 or float32, which is rounded, RGB 0...255.
        proposals: [B, R, 4] float32, pixels, for a detector that needs them.

    Returns:
        What `detect` returns.
    """
    checks = [some(tf.shape(pixels)[:3], "images are empty; their shape is")]
    if pixels.dtype.is_floating:
        checks.append(in_range(pixels))
        pixels = tf.round(pixels)  # as `images.picture` does, so that all forms see the same
    with tf.control_dependencies(checks):
        seen = preprocess(pixels)
    size = tf.cast(tf.shape(pixels)[1:3], tf.float32)
    return detect(seen, tf.tile(size[None], [tf.shape(pixels)[0], 1]), *proposals)


def to_images(model, seen, sizes, proposals=None):
    """Detects in preprocessed pictures.

    Args:
        model: a `Detector`.
        seen: the result of its `preprocess`.
        sizes: [B, 2] float32, heights and widths of the original pictures.
        proposals: [B, R, 4] float32, pixels, for a detector that needs them.

    Returns:
        The dict of `named`.
    """
    images = {**seen, "ids": tf.zeros(tf.shape(sizes)[:1], tf.int64)}
    if proposals is not None:
        counts = [tf.shape(one)[0] for one in (proposals, sizes)]
        alike = tf.debugging.Assert(counts[0] == counts[1], ["proposals and images differ in number:", *counts])
        with tf.control_dependencies([alike]):
            images["proposals"] = image.to_frames(proposals, images["frames"])
    found = model.detections(model.network(images), images)
    return named(image.detections_from_frames(found, images["frames"]), sizes)


def named(found, sizes):
    """Names detections as in the Object Detection API.

    Args:
        found: the detections dict, in pixels of the pictures.
        sizes: [B, 2] float32, their heights and widths.

    Returns:
        Dict of `detection_boxes` [B, D, 4], y1 x1 y2 x2 in fractions of the picture; `detection_scores` [B, D];
        `detection_classes` [B, D] float32, 0...K-1, -1 where padded; `num_detections` [B] float32; and, if the detector
        has them, `detection_masks` [B, D, S, S], 0...1 on grids over the boxes, `detection_keypoints` [B, D, P, 2], y x
        in fractions of the picture, and `detection_keypoint_scores` [B, D, P].
    """
    answers = {
        "detection_boxes": box.to_yxyx(found["boxes"]) / tf.concat([sizes, sizes], axis=-1)[:, None],
        "detection_scores": found["scores"],
        "detection_classes": tf.cast(found["classes"], tf.float32),
        "num_detections": tf.cast(found["counts"], tf.float32),
    }
    if "masks" in found:
        answers["detection_masks"] = found["masks"]
    if "keypoints" in found:
        x, y, scores = tf.unstack(found["keypoints"], axis=-1)
        answers["detection_keypoints"] = tf.stack([y, x], axis=-1) / sizes[:, None, None]
        answers["detection_keypoint_scores"] = scores
    return answers


def in_pixels(said, height, width):
    """Converts the outputs for one picture to detections in pixels.

    Args:
        said: dict of arrays as in `named`, without the dimension B.
        height, width: size of the picture, pixels.

    Returns:
        Dict of `boxes` [D, 4] float32 in pixels, `scores` [D] float32 and `classes` [D] int32, without padding; and, if
        present, `masks` [D, S, S] over the boxes and `keypoints` [D, P, 3].
    """
    count = int(said["num_detections"])
    found = {
        "boxes": np.float32(said["detection_boxes"][:count, [1, 0, 3, 2]] * [width, height, width, height]),
        "scores": np.float32(said["detection_scores"][:count]),
        "classes": np.int32(said["detection_classes"][:count]),
    }
    if "detection_masks" in said:
        found["masks"] = said["detection_masks"][:count]
    if "detection_keypoints" in said:
        points = said["detection_keypoints"][:count, :, ::-1] * [width, height]
        found["keypoints"] = np.float32(np.dstack([points, said["detection_keypoint_scores"][:count]]))
    return found


def fitted(pixels, rule, margin):
    """Resizes a picture to the input of a file of fixed size.

    Args:
        pixels: [1, H, W, 3] uint8, RGB.
        rule: rule of `images.resize`.
        margin: color around a picture that does not fill the input, RGB 0...255.

    Returns:
        The input [1, h, w, 3] uint8, and `frames` [1, 4] and `windows` [1, 4] of the images dict.
    """
    resized, frames, windows = (value.numpy() for value in image.resize(tf.constant(pixels), rule))
    canvas = np.full(resized.shape, margin, np.uint8)
    left, top, right, bottom = windows[0].astype(int)
    canvas[:, top:bottom, left:right] = np.round(resized[:, top:bottom, left:right])
    return canvas, frames, windows


def padded(boxes, count):
    """The first `count` of proposals [1, R, 4], padded with zeros."""
    boxes = boxes[:, :count]
    return np.pad(boxes, [[0, 0], [0, count - boxes.shape[1]], [0, 0]])


def some(shape, complaint):
    """An assertion that no side of a shape is 0."""
    return tf.debugging.Assert(tf.reduce_all(shape > 0), [complaint, shape])


def in_range(pixels):
    """An assertion that float pixels are RGB 0...255, by the rule of `images.whole`, which Keras applies."""
    least, most = tf.reduce_min(pixels), tf.reduce_max(pixels)
    fits = (least > -0.5) & (most < 255.5) & ((most > 1) | (most <= 0))
    return tf.debugging.Assert(fits, ["images must hold RGB pixels 0...255, got", least, "...", most])


def facts(model, **changes):
    """The facts that a reader of the file needs, as JSON.

    Args:
        model: a `Detector`.
        changes: facts that differ from the model's, or additional ones.

    Returns:
        str, an object of `detector`, the model's attributes in `FACTS`, and the changes.
    """
    return json.dumps({"detector": type(model).__name__, **{key: getattr(model, key) for key in FACTS}, **changes})
