"""Saving a detector, loading it again, and writing it for others: what `save`, presets and exports need."""

import inspect

import keras
import tensorflow as tf

from kerasdet.layers.start import weights_expected
from kerasdet.weights import copy, presets, tensors
from kerasdet.weights import names as weight_names
from kerasdet.weights.plain import PlainDetector


class Saves:
    """The part of a `keras.Model` that is made again from its `arguments` and its weights."""

    def get_config(self):
        own = {"classes": list(self.classes), "name": self.name, "dtype": self.dtype_policy.name}
        # A saved model holds its weights: what the backbone started from is not loaded again.
        start = {"backbone_weights": None} if "backbone_weights" in self.arguments else {}
        changed = {"changed": dict(self.changed)} if self.changed else {}
        return {**self.arguments, **own, **start, **changed}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        changed = config.pop("changed", {})
        # A subclass need not have places for these two.
        beside = {key: config.pop(key, None) for key in ("name", "dtype") if not cls.takes(key)}
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(beside.get("dtype") or before)
        try:
            model = cls(**config)
        finally:
            keras.config.set_dtype_policy(before)
        model.name = beside.get("name") or model.name
        for name, value in changed.items():
            setattr(model, name, value)
        return model

    def save(self, filepath, overwrite=True, **kwargs):
        """As `keras.Model.save`, to a `.keras` file.

        Raises:
            ValueError: the name has another ending.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{filepath}: a detector is saved as a .keras file; `export` writes SavedModels and .tflite."
            )
        super().save(filepath, overwrite=overwrite, **kwargs)

    def get_compile_config(self):
        """A saved model holds no optimizer; a run is resumed from its checkpoint."""
        return None

    @property
    def _default_save_signature(self):
        """What `tf.saved_model.save` writes of its own accord: Keras would take the dict of a batch, all as floats."""
        if self.needs_proposals:
            return None
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, "images")
        return tf.function(self.__call__, input_signature=[pixels], autograph=False)

    def save_preset(self, folder, published=None, license=None, source=None):
        """Writes a preset, see `kerasdet.weights.presets`.

        Args:
            folder: made where it does not exist.
            published: dict of what was measured, such as {"AP": 0.251, "data": "COCO test-dev"}.
            license, source: of the weights.
        """
        presets.save(self, folder, published, license, source)

    @classmethod
    def from_preset(cls, preset, classes=None, names=None, **arguments):
        """Makes the detector of a preset.

        Args:
            preset: a preset's folder, the name of a released model, a released file of tensors (see
                `kerasdet.weights.recognize`), or the `PlainDetector` that such a file holds.
            classes: names of other classes: the class head is new but for the rows of classes that stay by name; what
                was loaded, skipped and left out is printed.
            names: of the classes of a file that holds none, in its order; by default COCO's or VOC's by their number.
            arguments: of the detector, in place of those of the preset.

        Returns:
            A `Detector` of this class.

        Raises:
            FileNotFoundError: there is no such preset.
            ValueError: it is damaged, of another class, or a tensor does not fit; the line says which.
        """
        plain = preset if isinstance(preset, PlainDetector) else presets.load(preset, names)
        kind = keras.saving.get_registered_object(f"kerasdet>{plain.detector}")
        if not (isinstance(kind, type) and issubclass(kind, Saves)):
            raise ValueError(f"{plain.source}: there is no detector {plain.detector!r}.")
        if not issubclass(kind, cls):
            raise ValueError(f"{plain.source} is a preset of {plain.detector}, not of {cls.__name__}.")
        if unknown := sorted(set(arguments) - kind.parameters):
            raise ValueError(f"{plain.source}: {plain.detector} takes no {unknown[0]}.")
        with weights_expected():
            model = kind.from_config({"classes": plain.classes, **plain.arguments, **arguments})
        if callable(plain.tensors):
            plain.tensors(model)
        else:
            pairs = [(variable, name) for name, variable in weight_names.weights(model).items()]
            tensors.assign(pairs, plain.tensors, plain.source)
        if classes is None and plain.used is not None:
            return copy.for_classes(model, plain.used, plain.source, quiet=True)
        return model if classes is None else copy.for_classes(model, classes, plain.source)

    def export(self, filepath, format=None, **kwargs):
        """Writes a file that runs without kerasdet, see `kerasdet.export`.

        Args:
            filepath: folder of the SavedModel, or name of the TFLite file, which ends in .tflite.
            format: "tf_saved_model", or "litert" for TFLite; None for what the name says.
            kwargs: of `export.saved_model.write` or `export.tflite.write`; Keras' `verbose` is ignored.

        Raises:
            ValueError: the format is another or does not fit the name, or an argument is unknown.
        """
        from kerasdet.export import saved_model, tflite

        lite = str(filepath).endswith(".tflite")
        format = format or ("litert" if lite else "tf_saved_model")
        formats = {"tf_saved_model": saved_model, "litert": tflite}
        if format not in formats:
            raise ValueError(f"format must be one of {tuple(formats)}, got {format!r}.")
        if lite != (format == "litert"):
            raise ValueError(f"{filepath}: format={format!r} writes {'a folder' if lite else 'a file named .tflite'}.")
        kwargs.pop("verbose", None)
        known = list(inspect.signature(formats[format].write).parameters)[2:]
        if unknown := sorted(set(kwargs) - set(known)):
            raise ValueError(
                f"export takes no {unknown[0]}: a file takes RGB pixels and gives detections, see docs/deploy.md; "
                f"{format!r} has {', '.join(known)}."
            )
        formats[format].write(self, filepath, **kwargs)

    def with_dtype(self, dtype):
        """A twin with the same weights that computes in another precision.

        Args:
            dtype: as the constructor takes it: "float32", "mixed_bfloat16", "mixed_float16".
        """
        twin = type(self).from_config({**self.get_config(), "dtype": dtype})
        twin.set_weights(self.get_weights())
        return twin
