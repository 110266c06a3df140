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
        self.mean = tf.constant([mean], tf.float32)
        self.deviation = tf.constant([deviation], tf.float32)
        self.color = self.mean if outside is None else outside * tf.ones([1, 3])
        self.painted = outside is not None

    def call(self, images):
        """Normalizes a batch.

        Args:
            images: `pixels` [B, H, W, 3] uint8 or float32, 0...255, and `windows` [B, 4].

        Returns:
            [B, H, W, 3] in the compute dtype.
        """
        pixels, windows = tf.cast(images["pixels"], tf.float32), images["windows"]
        batch, (height, width) = tf.shape(pixels)[0], image_size(images)

        def inside(side, low, high):
            """1 inside the windows and 0 outside, [B, side]."""
            middle = tf.cast(tf.range(side), tf.float32)[None] + 0.5
            return tf.cast((middle > windows[:, low : low + 1]) & (middle < windows[:, high : high + 1]), tf.float32)

        def across(channels):
            """What every pixel of a row has, [1, W * 3]."""
            return tf.tile(channels, [1, width])

        # In rows of W * 3 numbers, because TensorFlow broadcasts three channels several times as slowly.
        pixels = (tf.reshape(pixels, [batch, height, width * 3]) - across(self.color)) / across(self.deviation)
        pixels *= tf.expand_dims(tf.repeat(inside(width, 0, 2), 3, axis=1), 1)
        pixels *= tf.expand_dims(inside(height, 1, 3), 2)
        if self.painted:
            pixels += across((self.color - self.mean) / self.deviation)
        return tf.cast(tf.reshape(pixels, [batch, height, width, 3]), self.compute_dtype)


def image_size(images):
    """(height, width) of a batch: ints if static, else scalar tensors."""
    static = images["pixels"].shape[1:3]
    dynamic = tf.shape(images["pixels"])
    return [side or dynamic[i] for i, side in enumerate(static, start=1)]
