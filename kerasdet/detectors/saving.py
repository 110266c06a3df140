"""Saving a detector, loading it again, and writing it for others: what `save`, presets and exports need."""

import keras

from kerasdet.weights import copy, names, presets, tensors
from kerasdet.weights.plain import PlainDetector


class Saves:
    """The part of a `keras.Model` that is made again from its `arguments` and its weights."""

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
        if not (isinstance(kind, type) and issubclass(kind, Saves)):
            raise ValueError(f"{plain.source}: there is no detector {plain.detector!r}.")
        if not issubclass(kind, cls):
            raise ValueError(f"{plain.source} is a preset of {plain.detector}, not of {cls.__name__}.")
        model = kind(classes=plain.classes, **plain.arguments)
        found = plain.tensors(model) if callable(plain.tensors) else plain.tensors
        tensors.assign([(v, name) for name, v in names.weights(model).items()], found, plain.source)
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

    def with_dtype(self, dtype):
        """A twin with the same weights that computes in another precision.

        Args:
            dtype: as the constructor takes it: "float32", "mixed_bfloat16", "mixed_float16".
        """
        twin = type(self).from_config({**self.get_config(), "dtype": dtype})
        twin.set_weights(self.get_weights())
        return twin
