"""What the suite runs over: all of `DETECTORS`, and one that is as unlike them as the contract allows."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import boxes, coders
from kerasdet.decoding import suppress
from kerasdet.detectors import DETECTORS
from kerasdet.detectors.detector import Detector
from kerasdet.layers import Conv, Pixels
from kerasdet.losses import boxes as box_losses
from kerasdet.losses import classes as class_losses
from kerasdet.targets import assign

SIDE, STRIDE = 64, 16


@keras.saving.register_keras_serializable("tests")
class Cells(Detector):
    """Fully connected layers, hence images of one size; nested outputs of two stacks, of which the last one answers."""

    terms = ("class", "box")
    fixed = True

    def __init__(self, classes, resize=("stretch", SIDE, SIDE), multiple=1, above=0.05, **kwargs):
        super().__init__(classes, resize=resize, multiple=multiple, **kwargs)
        self.pixels = Pixels("torch")
        self.convs = [Conv(16, 3, stride=4, activation="relu"), Conv(32, 3, stride=4, activation="relu")]
        centers = np.arange(STRIDE / 2, SIDE, STRIDE)
        x, y = (np.tile(grid.ravel(), 2) for grid in np.meshgrid(centers, centers))
        half = np.repeat([12, 18], len(x) // 2)
        self.grid = tf.constant(np.stack([x - half, y - half, x + half, y + half], axis=1), tf.float32)
        width = self.num_classes + 4
        prior = np.tile([-3.0] * self.num_classes + [0.0] * 4, len(half))
        self.stacks = [
            keras.layers.Dense(len(half) * width, bias_initializer=keras.initializers.Constant(prior)) for _ in range(2)
        ]
        self.above = above

    def network(self, images, training=False):
        x = self.pixels(images)
        for conv in self.convs:
            x = conv(x, training=training)
        x = seen = tf.reshape(x, [-1, (SIDE // STRIDE) ** 2 * x.shape[-1]])
        stacks = []
        for dense in self.stacks:
            said = dense(x)
            x = tf.concat([seen, said], axis=-1)
            said = tf.reshape(tf.cast(said, tf.float32), [-1, len(self.grid), self.num_classes + 4])
            stacks.append(dict(zip(("logits", "deltas"), tf.split(said, [self.num_classes, 4], axis=-1), strict=True)))
        return {"stacks": stacks}

    def match(self, objects, images):
        return self.grid, assign.by_iou(self.grid, objects, 0.5, 0.4, windows=images["windows"])

    def loss_terms(self, outputs, objects, images, training=True):
        grid, match = self.match(objects, images)
        real = (images["ids"] >= 0)[:, None]
        total = assign.positives(match, images)
        targets = tf.one_hot(match.classes, self.num_classes)
        terms = dict.fromkeys(self.terms, 0.0)
        for stack in outputs["stacks"]:
            focal = tf.reduce_sum(class_losses.focal(stack["logits"], targets, 0.25, 2.0), axis=-1)
            box = tf.reduce_sum(box_losses.smooth_l1(stack["deltas"], coders.encode(grid, match.boxes), 0.1), axis=-1)
            terms["class"] += tf.reduce_sum(tf.where(match.counted & real, focal, 0.0)) / total
            terms["box"] += tf.reduce_sum(tf.where(match.positive & real, box, 0.0)) / total
        return terms

    def detections(self, outputs, images):
        last = outputs["stacks"][-1]
        decoded = boxes.clip(coders.decode(self.grid, last["deltas"]), images["windows"])
        scores = tf.where((images["ids"] >= 0)[:, None, None], tf.sigmoid(last["logits"]), 0.0)
        return suppress.within_classes(decoded[:, :, None], scores, self.suppression, self.above, 20)

    def raw(self, outputs):
        return outputs["stacks"][-1]

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        return {"classes": ["square", "disc"]}


KINDS = {**DETECTORS, "Cells": Cells}
