"""How a detector's class and the detector are made: arguments, terms, and the class by its name in saved files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import RetinaNet
from kerasdet.detectors.detector import Detector


class Corner(Detector):
    """A box in the corner, whose side is its only weight; its terms are named after the base's constructor."""

    def __init__(self, classes, *, side=8.0, words=("a", "b"), **options):
        super().__init__(classes, **{"resize": ("keep",), "multiple": 1, **options})
        self.terms = ("first", *words)
        self.side = self.add_weight(shape=(), initializer=keras.initializers.Constant(side), name="side")

    def network(self, images, training=False):
        return {"side": self.side * tf.ones_like(images["windows"][:, :1])}

    def loss_terms(self, outputs, objects, images, training=True):
        return {term: i * tf.reduce_mean(outputs["side"]) for i, term in enumerate(self.terms, start=1)}

    def detections(self, outputs, images):
        side = outputs["side"]
        return {
            "boxes": tf.stack([0 * side, 0 * side, side, side], -1),
            "scores": tf.ones_like(side),
            "classes": tf.zeros_like(side, tf.int32),
            "counts": tf.ones(tf.shape(side)[:1], tf.int32),
        }


def test_arguments_are_kept_whatever_the_catch_all_is_called():
    model = Corner(["egg"], side=5.0, multiple=4)
    assert model.arguments == {"classes": ["egg"], "side": 5.0, "words": ("a", "b"), "multiple": 4}
    again = Corner.from_config(model.get_config())
    assert again.get_config() == model.get_config() and again.multiple == 4


def test_terms_may_be_named_after_the_constructor_of_the_base():
    model = Corner(1)
    assert list(model.trackers) == ["loss", "first", "a", "b"]
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    images = {**model.preprocess(tf.zeros([2, 16, 16, 3], tf.uint8)), "ids": tf.range(2, dtype=tf.int64)}
    logs = model.test_step((images, {}))
    assert {k: float(v) for k, v in logs.items()} == {"loss": 48.0, "first": 8.0, "a": 16.0, "b": 24.0}


def test_arguments_without_a_name_are_refused_when_the_class_is_made():
    with pytest.raises(ValueError, match=r"^Unnamed: a saved detector has no place for \*sizes; name its arguments\.$"):

        class Unnamed(Detector):
            def __init__(self, classes, *sizes):
                super().__init__(classes)

    assert keras.saving.get_registered_object("kerasdet>Unnamed") is None


def test_a_subclass_is_saved_and_loaded_without_being_registered(tmp_path):
    model = Corner(["egg", "crack"], words=("c",))
    model.side.assign(3.0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is Corner and again.terms == ("first", "c")
    np.testing.assert_array_equal(again.detect(np.zeros([9, 9, 3], np.uint8))["boxes"], [[0, 0, 3, 3]])
    model.save_preset(tmp_path / "preset")
    assert type(Detector.from_preset(tmp_path / "preset")) is Corner


def test_a_class_of_another_module_keeps_the_name_that_it_has():
    known = keras.saving.get_registered_object("kerasdet>RetinaNet")
    assert known is RetinaNet

    class Other(RetinaNet):
        pass

    type(Other)("RetinaNet", (RetinaNet,), {"__module__": __name__})
    assert keras.saving.get_registered_object("kerasdet>RetinaNet") is RetinaNet
    assert keras.saving.get_registered_object("kerasdet>Other") is Other
