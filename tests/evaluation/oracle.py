"""A detector that knows the answers: boxes, masks and keypoints of a data set, by the pictures' ids."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasdet import data
from kerasdet import images as image
from kerasdet.data import pipeline, segments, shapes
from kerasdet.detectors.detector import Detector


def scenes(count=6):
    """Pictures of odd sizes with masks and keypoints; picture 10 is empty."""
    records = []
    for index in range(count):
        whole = shapes.picture("val", index)
        height, width = 256 - 11 * index, 199 + 9 * index
        kept = (whole.boxes[:, 2] <= width) & (whole.boxes[:, 3] <= height) & (index != 0)
        masks = [segments.decode(s, 256, 256)[:height, :width] for s, k in zip(whole.segments, kept, strict=True) if k]
        records.append(
            dataclasses.replace(
                whole, id=10 + index, image=whole.image[:height, :width], height=height, width=width,
                boxes=whole.boxes[kept], classes=whole.classes[kept], crowds=whole.crowds[kept],
                areas=whole.areas[kept], segments=[segments.encode(mask) for mask in masks],
                keypoints=whole.keypoints[kept],
            )
        )  # fmt: skip
    return data.Dataset("scenes", shapes.CLASSES, records, keypoints=shapes.KEYPOINTS)


class Oracle(Detector):
    """Gives for each picture what `learn` was told, in network pixels; bare pixels are picture 0."""

    terms = ("box",)

    def __init__(self, classes, masks=True, keypoints=2, **kwargs):
        super().__init__(classes, **{"resize": ("shorter", 90, 160), "multiple": 16, **kwargs})
        self.needs_masks, self.num_keypoints = masks, keypoints
        self.answers = {}

    def learn(self, dataset, shift=0.0, points=0.0, erase=0):
        """Takes a data set's objects as answers.

        Args:
            dataset: a `Dataset`.
            shift, points: pixels by which boxes and keypoints are moved to the right.
            erase: columns of each mask's grid that are emptied, from the right.
        """
        most = max(1, *(len(record.boxes) for record in dataset.records))

        def padded(values, fill=0):
            missing = [[[0, most - len(v)]] + [[0, 0]] * (v.ndim - 1) for v in values]
            return np.stack([np.pad(v, m, constant_values=fill) for v, m in zip(values, missing, strict=True)])

        records = dataset.records
        self.answers = {
            "boxes": padded([r.boxes + np.float32([shift, 0, shift, 0]) for r in records]),
            "scores": padded([np.linspace(0.9, 0.5, len(r.boxes), dtype=np.float32) for r in records]),
            "classes": padded([r.classes for r in records], -1),
            "counts": np.int32([len(r.boxes) for r in records]),
        }
        if self.needs_masks:
            grids = [pipeline._grids(r).astype(np.float32) for r in records]
            for grid in grids:
                grid[:, :, pipeline.MASK_SIDE - erase :] = 0
            self.answers["masks"] = padded(grids)
        if self.num_keypoints:
            self.answers["keypoints"] = padded([r.keypoints + np.float32([points, 0, 0]) for r in records])
        self.ids = tf.constant([r.id for r in records], tf.int64)
        return self

    def network(self, images, training=False):
        return {"pixels": tf.reduce_mean(images["pixels"], axis=[1, 2, 3])}

    def loss_terms(self, outputs, objects, images, training=True):
        held = [tf.reduce_sum(tf.cast(objects[key], tf.float32)) for key in ("masks", "keypoints") if key in objects]
        return {"box": tf.add_n([tf.reduce_sum(objects["boxes"]), *held]) * 0 + 1}

    def detections(self, outputs, images):
        if not self.answers:
            return {}
        own = tf.argmax(tf.cast(images["ids"][:, None] == self.ids, tf.int32), axis=1)
        found = {key: tf.gather(values, own) for key, values in self.answers.items()}
        found["boxes"] = image.to_frames(found["boxes"], images["frames"])
        if "keypoints" in found:
            frames = images["frames"][:, None, None]
            points = found["keypoints"][..., :2] * frames[..., :2] + frames[..., 2:]
            found["keypoints"] = tf.concat([points, found["keypoints"][..., 2:]], -1)
        found["counts"] = tf.where(images["ids"] >= 0, found["counts"], 0)
        return found
