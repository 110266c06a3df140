"""From pixels to detections: calling a detector, and what Keras' `predict` and our `detect` run."""

import contextlib

import numpy as np
import tensorflow as tf

from kerasdet import contract, ops
from kerasdet import images as image
from kerasdet.detect import Detects


class Predicts(Detects):
    """The part of a `keras.Model` that detects, by its `preprocess`, `network` and `detections`."""

    def call(self, images):
        """Detects.

        Args:
            images: the images dict, or bare pixels [B, H, W, 3] 0...255.

        Returns:
            The detections dict: in network pixels for a dict, in the pictures' own pixels for bare pixels. Masks are
            grids over the boxes in both.
        """
        # A graph that is not ours may be saved, as by `keras.export.ExportArchive`: TensorFlow's own operators run
        # anywhere.
        ours = tf.executing_eagerly() or self.__dict__.get("predicting", False)
        with contextlib.nullcontext() if ours else ops.portable():
            if isinstance(images, dict):
                return self.detections(self.network(images), images)
            return self._in_pixels(images)

    def __call__(self, images, *args, **kwargs):
        # Before Keras, which would put a page around a line.
        if isinstance(images, dict):
            contract.check(images)
        else:
            images = _checked(images)
        return super().__call__(images, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """As `keras.Model.predict`; arrays are bare pixels, as `call` takes them."""
        if isinstance(x, np.ndarray) or tf.is_tensor(x):
            x = _checked(x)
        return super().predict(x, *args, **kwargs)

    def predict_step(self, data):
        self.__dict__["predicting"] = True
        try:
            return super().predict_step(data)
        finally:
            self.__dict__["predicting"] = False

    def _in_pixels(self, pixels, proposals=None, scale=1.0, pairs=None):
        """As `call` for bare pixels, with proposals [B, R, 4] in their own pixels where the detector takes some.

        With `pairs`, of `views.kinds`, what the network says of the mirrored image goes in too.
        """
        self._check_proposals(proposals)
        images = {**self.preprocess(pixels, scale=scale), "ids": tf.zeros(tf.shape(pixels)[:1], tf.int64)}
        if proposals is not None:
            images["proposals"] = image.to_frames(proposals, images["frames"])
        outputs = self.network(images)
        if pairs is None:
            found = self.detections(outputs, images)
        else:
            found = self.detections(outputs, images, self.network(_mirrored(images)), pairs)
        return image.detections_from_frames(found, images["frames"])

    def _found(self, pixels, proposals, scale=1.0, pairs=None):
        given = [tf.convert_to_tensor(pixels[None])]
        if proposals is not None:
            given.append(tf.constant(proposals, tf.float32, [1, len(proposals), 4]))
        (found,) = self._unpadded(self._detect_graph(len(given), scale, pairs)(*given))
        return found

    def _found_in_batch(self, pixels):
        return self._unpadded(self._detect_graph(1, 1.0, None)(tf.convert_to_tensor(pixels)))

    def _unpadded(self, found):
        """The detections dict of a batch as a list of a dict of arrays for each picture."""
        found = {k: v.numpy() for k, v in found.items()}
        counts = found.pop("counts")
        return [{k: v[i, :count] for k, v in found.items()} for i, count in enumerate(counts)]

    def _detect_graph(self, inputs, scale, pairs):
        """The graph of `detect` at a scale, of pixels and, as a second input, proposals."""
        graphs = self.__dict__.setdefault("graphs", {})
        if (inputs, scale, pairs) not in graphs:
            specs = [tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None, None, 4], tf.float32)]
            graphs[inputs, scale, pairs] = tf.function(
                lambda *inputs: self._in_pixels(*inputs, scale=scale, pairs=pairs),
                input_signature=specs[:inputs],
                autograph=False,
            ).get_concrete_function()
        return graphs[inputs, scale, pairs]


def _mirrored(images):
    """The images dict with left and right of the network's image exchanged."""
    x1, y1, x2, y2 = tf.unstack(images["windows"], axis=-1)
    width = tf.cast(tf.shape(images["pixels"])[2], tf.float32)
    windows = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    return {**images, "pixels": tf.reverse(images["pixels"], [2]), "windows": windows}


def _checked(pixels):
    """Bare pixels of `call`; where a graph is traced, their values are not known."""
    pixels = tf.convert_to_tensor(pixels)
    if pixels.shape.rank != 4 or pixels.shape[-1] != 3:
        raise ValueError(
            f"pixels must have shape [B, height, width, 3], got {pixels.shape}: a single picture is pixels[None]."
        )
    if not (pixels.dtype == tf.uint8 or pixels.dtype.is_floating):
        raise ValueError(f"pixels must be uint8 or floats of RGB 0...255, got {pixels.dtype.name}.")
    if isinstance(pixels, tf.__internal__.EagerTensor):
        image.whole(pixels.numpy(), "pixels")
    return pixels
