"""The base of all detectors: one set of verbs for every paper."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.decoding import suppress
from kerasdet.detect import Detects
from kerasdet.detectors.complete import Complete
from kerasdet.detectors.step import Trains
from kerasdet.weights import copy, names, presets, tensors
from kerasdet.weights.plain import PlainDetector


class Detector(Detects, Trains, keras.Model, metaclass=Complete):
    """A detector: `network`, `loss_terms` and `detections` make it train, validate, detect, save and export.

    A subclass gives, in the order in which data flows, its layers, `network`, `loss_terms` and `detections`, and names
    its terms in `terms` and in `class_heads` the layers, by the attributes that lead to them, whose last axis holds the
    outputs of every class, anchor by anchor. One that learns from masks, keypoints or proposals says so by
    `needs_masks`, `num_keypoints` (P) and `needs_proposals`. One with anchors has them as `anchors`, see
    `kerasdet.anchors`, says by `positive_iou` which overlap makes an anchor learn an object, and gives `match` and
    `fitted`.

    Args:
        classes: names of the classes, or their number.
        resize: rule of `images.preprocess`: ("shorter", 800, 1333), ("stretch", 300, 300), ("squeeze", 300, 300),
            ("letterbox", 416, 416), ("corner", 512, 512) or ("keep",).
        multiple: network images are padded to a multiple of this, pixels.
        nms: kind of suppression, one of `suppress.KINDS`, or a dict of its `name` and options.
        name, dtype: of the Keras model; dtype "mixed_bfloat16" and "mixed_float16" train and run in mixed precision,
            with boxes, losses and suppression in float32.
    """

    class_heads = ()
    # What is predicted of each box beside its class, by the names that `suppress.per_class` knows.
    predicted = ()
    # Its anchors, and the IoU from which one of them learns an object; None where a detector has none.
    anchors = None
    positive_iou = None

    def __init__(self, classes, resize=("shorter", 800, 1333), multiple=32, nms="hard", name=None, dtype=None):
        # Keras would cast boxes to half precision and compile suppression with XLA.
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.supports_jit = False
        image.check_rule(resize)
        suppress.check(nms, self.predicted)
        known = [f"class {i}" for i in range(classes)] if isinstance(classes, int) else list(classes)
        if not known or len(set(known)) != len(known):
            raise ValueError(f"classes must be one or more different names, or their number, got {classes!r}.")
        self.classes = tuple(known)
        self.resize = tuple(resize)
        self.multiple = multiple
        self.nms = nms

    @property
    def num_classes(self):
        """K, the number of classes."""
        return len(self.classes)

    @property
    def class_outputs(self):
        """Names of an anchor's outputs in `class_heads`; a softmax over a background too has a name more."""
        return self.classes

    def network(self, images, training=False):
        """Runs once a picture.

        Args:
            images: the images dict of `contract`.
            training: whether norms and dropout train.

        Returns:
            Dict of raw outputs.
        """
        raise NotImplementedError

    def raw(self, outputs):
        """What an application needs that decodes by itself, by default all of `network`'s outputs.

        Args:
            outputs: what `network` returned.

        Returns:
            Dict of tensors.
        """
        return outputs

    def loss_terms(self, outputs, objects, images, training=True):
        """The paper's loss.

        Args:
            outputs: what `network` returned.
            objects: the objects dict of `contract`.
            images: the images dict of `contract`.
            training: False in validation.

        Returns:
            Dict of scalars, one for each of `terms`; their sum over terms and replicas is the loss.
        """
        raise NotImplementedError

    def match(self, objects, images):
        """Which anchors learn which objects: what the loss takes, and what tools draw and judge.

        Args:
            objects: the objects dict of `contract`.
            images: the images dict of `contract`.

        Returns:
            The anchors, [A, 4] or [B, A, 4] float32, network pixels, and a `targets.assign.Match`; None where a
            detector has no anchors.
        """
        return None

    def fitted(self, boxes, sizes):
        """Arguments of anchors that reach more objects, by `positive_iou`.

        Args:
            boxes: [N, 4], the objects, network pixels.
            sizes: [N, 2] whole numbers, height and width of the network's image that each lies in.

        Returns:
            Dict ready for a config's `model`; None where the anchors at hand are as good, or a detector has none.
        """
        return None

    def detections(self, outputs, images):
        """Decodes and suppresses.

        Args:
            outputs: what `network` returned.
            images: the images dict of `contract`.

        Returns:
            The detections dict of `contract`, in network pixels.
        """
        raise NotImplementedError

    def preprocess(self, pixels, size=None):
        """From pixels of a picture to what the network sees; training, `detect` and exports all call this.

        Args:
            pixels: [B, H, W, 3] or [H, W, 3], uint8 or float32, RGB 0...255.
            size: another smaller side for the resize rule, pixels; training at several sizes takes it.

        Returns:
            `pixels`, `windows` and `frames` of the images dict, batched as the input is.
        """
        return image.preprocess(pixels, self.resize, self.multiple, size)

    def call(self, images):
        """Detects.

        Args:
            images: the images dict, or bare pixels [B, H, W, 3] 0...255.

        Returns:
            The detections dict: in network pixels for a dict, in the pictures' own pixels for bare pixels. Masks are
            grids over the boxes in both.
        """
        if isinstance(images, dict):
            return self.detections(self.network(images), images)
        return self._in_pixels(images)

    def _in_pixels(self, pixels, proposals=None):
        """As `call` for bare pixels, with proposals [B, R, 4] in their own pixels where the detector takes some."""
        self._check_proposals(proposals)
        images = {**self.preprocess(pixels), "ids": tf.zeros(tf.shape(pixels)[:1], tf.int64)}
        if proposals is not None:
            images["proposals"] = image.to_frames(proposals, images["frames"])
        return image.detections_from_frames(self.detections(self.network(images), images), images["frames"])

    def _found(self, pixels, proposals):
        given = [np.float32(pixels[None])]
        if proposals is not None:
            given.append(np.float32(proposals).reshape(1, -1, 4))
        found = {k: v[0].numpy() for k, v in self._detect_graph(len(given))(*given).items()}
        count = found.pop("counts")
        return {k: v[:count] for k, v in found.items()}

    def _detect_graph(self, inputs):
        """The graph of `detect`, of pixels and, as a second input, proposals."""
        graphs = self.__dict__.setdefault("graphs", {})
        if inputs not in graphs:
            specs = [tf.TensorSpec([None, None, None, 3], tf.float32), tf.TensorSpec([None, None, 4], tf.float32)]
            graphs[inputs] = tf.function(lambda *given: self._in_pixels(*given), input_signature=specs[:inputs])
        return graphs[inputs]

    def with_dtype(self, dtype):
        """A twin with the same weights that computes in another precision.

        Args:
            dtype: as the constructor takes it: "float32", "mixed_bfloat16", "mixed_float16".
        """
        twin = type(self).from_config({**self.get_config(), "dtype": dtype})
        twin.set_weights(self.get_weights())
        return twin

    def example(self):
        """A batch of one small black picture, as `call` takes it."""
        images = self.preprocess(tf.zeros([1, 64, 64, 3], tf.uint8))
        proposals = {"proposals": images["windows"][:, None]} if self.needs_proposals else {}
        return {**images, **proposals, "ids": tf.zeros([1], tf.int64)}

    # Saving and serving.

    def get_config(self):
        own = {"classes": list(self.classes), "name": self.name, "dtype": self.dtype_policy.name}
        # A saved model holds its weights: what the backbone started from is not loaded again.
        start = {"backbone_weights": None} if "backbone_weights" in self.arguments else {}
        return {**self.arguments, **own, **start}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def get_compile_config(self):
        """A saved model holds no optimizer; a run is resumed from its checkpoint."""
        return None

    def save_preset(self, folder, published=None, license=None, source=None):
        """Writes a preset, see `kerasdet.weights.presets`.

        Args:
            folder: made where it does not exist.
            published: dict of what was measured, such as {"AP": 0.251, "data": "COCO test-dev"}.
            license, source: of the weights.
        """
        presets.save(self, folder, published, license, source)

    @classmethod
    def from_preset(cls, preset, classes=None):
        """Makes the detector of a preset.

        Args:
            preset: a preset's folder, the name of a released model, or the `PlainDetector` that a released file holds.
            classes: names of other classes: the class head is new but for the rows of classes that stay by name; what
                was loaded, skipped and left out is printed.

        Returns:
            A `Detector` of this class.

        Raises:
            FileNotFoundError: there is no such preset.
            ValueError: it is damaged, of another class, or a tensor does not fit; the line says which.
        """
        plain = preset if isinstance(preset, PlainDetector) else presets.load(preset)
        kind = keras.saving.get_registered_object(f"kerasdet>{plain.detector}")
        if not (isinstance(kind, type) and issubclass(kind, Detector)):
            raise ValueError(f"{plain.source}: there is no detector {plain.detector!r}.")
        if not issubclass(kind, cls):
            raise ValueError(f"{plain.source} is a preset of {plain.detector}, not of {cls.__name__}.")
        model = kind(classes=plain.classes, **plain.arguments)
        tensors.assign([(v, name) for name, v in names.weights(model).items()], plain.tensors, plain.source)
        return model if classes is None else copy.for_classes(model, classes, plain.source)

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Writes a file that runs without kerasdet, see `kerasdet.export`.

        Args:
            filepath: folder of the SavedModel, or name of the TFLite file.
            format: "tf_saved_model", or "litert" for TFLite.
            kwargs: of `export.saved_model.write` or `export.tflite.write`; Keras' `verbose` is ignored.

        Raises:
            ValueError: the format is another.
        """
        from kerasdet.export import saved_model, tflite

        formats = {"tf_saved_model": saved_model, "litert": tflite}
        if format not in formats:
            raise ValueError(f"format must be one of {tuple(formats)}, got {format!r}.")
        kwargs.pop("verbose", None)
        formats[format].write(self, filepath, **kwargs)
