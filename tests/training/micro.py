"""A detector that trains a step in milliseconds and is traced in a second, and data for it."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import data
from kerasdet.detectors.detector import Detector
from kerasdet.layers import Pixels
from kerasdet.layers.conv import Conv
from kerasdet.targets.assign import over_replicas

CLASSES = ("egg", "crack", "dirt")


@keras.saving.register_keras_serializable("kerasdet tests")
class Micro(Detector):
    """Says which classes a picture holds and where its objects' middle is, from two convolutions."""

    terms = ("class", "box")
    class_heads = ("class_head",)

    def __init__(self, classes=CLASSES, norm="frozen", dropout=0.0, anchors=2, **kwargs):
        super().__init__(classes, **{"resize": ("stretch", 32, 32), **kwargs})
        self.pixels = Pixels("torch")
        self.backbone = [Conv(8, 3, 4, norm=norm, activation="relu"), Conv(8, 3, 4, norm=norm, activation="relu")]
        self.dropout = keras.layers.Dropout(dropout)
        self.class_head = Conv(anchors * self.num_classes, 1)
        self.box_head = Conv(4, 1)

    def network(self, images, training=False):
        x = self.pixels(images)
        for layer in self.backbone:
            x = layer(x, training=training)
        x = self.dropout(x, training=training)
        logits = tf.reshape(self.class_head(x), [tf.shape(x)[0], -1, self.num_classes])
        return {"logits": tf.reduce_mean(logits, axis=1), "boxes": tf.reduce_mean(self.box_head(x), axis=[1, 2])}

    def loss_terms(self, outputs, objects, images, training=True):
        real = tf.cast(images["ids"] >= 0, tf.float32)
        real /= tf.maximum(over_replicas(tf.reduce_sum(real)), 1.0)
        held = tf.reduce_max(tf.one_hot(objects["classes"], self.num_classes), axis=1)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(held, outputs["logits"])
        middle = tf.reduce_max(objects["boxes"], axis=1) / 32.0
        return {
            "class": tf.reduce_sum(real[:, None] * entropy),
            "box": tf.reduce_sum(real[:, None] * tf.square(outputs["boxes"] - middle)),
        }

    def detections(self, outputs, images):
        boxes = tf.clip_by_value(outputs["boxes"] * 32.0, 0.0, 32.0)
        scores, classes = tf.math.top_k(tf.sigmoid(outputs["logits"]), 1)
        return {"boxes": boxes[:, None], "scores": scores, "classes": classes, "counts": tf.ones_like(classes[:, 0])}


def make(**arguments):
    """The same `Micro` every time."""
    keras.utils.set_random_seed(0)
    return Micro(**arguments)


def photos(count=12, seed=0):
    """A `Dataset` of noise pictures with a bright object each, of its class's color."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(count):
        pixels = rng.integers(60, 90, [32, 32, 3], np.uint8)
        x, y = rng.integers(0, 16, 2)
        pixels[y : y + 16, x : x + 16, i % 3] = 250
        box = np.array([[x, y, x + 16, y + 16]], np.float32)
        records.append(
            data.Record(
                id=100 + i, image=pixels, height=32, width=32, boxes=box, classes=np.array([i % 3], np.int32),
                crowds=np.array([False]), areas=np.array([256], np.float32),
            )
        )  # fmt: skip
    return data.Dataset("photos", CLASSES, records)
