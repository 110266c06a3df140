"""Normalizes pixels 0...255 to the range that a backbone was trained on."""

import keras
import tensorflow as tf

# RGB means and deviations in 0...255. "torch": torchvision's ImageNet statistics; "caffe": the means that Keras'
# ResNets subtract; "tf": -1...1, Keras' MobileNets; "lite": EfficientNet-Lite; "unit": 0...1; "vgg": Caffe's means
# 123, 117, 104 of VGG and SSD, as torchvision rounds them; "rcnn": those of Fast and Faster R-CNN's releases;
# "detectron": Detectron2's, on its ResNets of unit deviation; "centernet": COCO's, of CornerNet, CenterNet and
# ExtremeNet.
STATISTICS = {
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "vgg": ((122.99925, 116.9991, 103.9992), (1.0, 1.0, 1.0)),
    "rcnn": ((122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0)),
    "detectron": ((123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
    "centernet": (
        (0.47026115 * 255, 0.44719302 * 255, 0.40789654 * 255),
        (0.27809835 * 255, 0.27408164 * 255, 0.28863828 * 255),
    ),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
}


@keras.saving.register_keras_serializable("kerasdet")
class Pixels(keras.layers.Layer):
    """Normalizes pixels, paints what lies outside the windows, and casts once to the compute dtype.

    Args:
        statistics: a key of `STATISTICS`.
        outside: color outside the windows, a number 0...255 or one for each of R, G and B: 127.5 for darknet's gray, 0
            for CornerNet's black; None for the mean, which is 0 once normalized.
    """

    def __init__(self, statistics, outside=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        mean, deviation = STATISTICS[statistics]
        self.mean = tf.constant(mean, tf.float32)
        self.deviation = tf.constant(deviation, tf.float32)
        self.outside = self.mean if outside is None else tf.constant(outside, tf.float32) * tf.ones(3)
        self.painted = outside is not None

    def call(self, images):
        """Normalizes a batch.

        Args:
            images: `pixels` [B, H, W, 3] uint8 or float32, 0...255, and `windows` [B, 4].

        Returns:
            [B, H, W, 3] in the compute dtype.
        """
        pixels, windows = images["pixels"], images["windows"]
        height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
        x1, y1, x2, y2 = tf.unstack(windows[:, None, :], axis=-1)
        rows = tf.cast(tf.range(height), tf.float32)[None] + 0.5
        columns = tf.cast(tf.range(width), tf.float32)[None] + 0.5
        inside = ((rows > y1) & (rows < y2))[:, :, None] & ((columns > x1) & (columns < x2))[:, None, :]
        inside = tf.expand_dims(tf.cast(inside, tf.float32), -1)
        pixels = (tf.cast(pixels, tf.float32) - self.mean) / self.deviation * inside
        if self.painted:
            pixels += (self.outside - self.mean) / self.deviation * (1.0 - inside)
        return tf.cast(pixels, self.compute_dtype)


def image_size(images):
    """(height, width) of a batch: ints if static, else scalar tensors."""
    static = images["pixels"].shape[1:3]
    dynamic = tf.shape(images["pixels"])
    return [side or dynamic[i] for i, side in enumerate(static, start=1)]
