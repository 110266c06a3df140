"""TFLite files of one size under every resize rule, and what is refused in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import runs
from kerasdet.detectors import SSD
from kerasdet.export import report
from tests.contract import scenes


@pytest.mark.parametrize("rule", ["letterbox", "squeeze", "stretch", "shorter"])
def test_a_file_of_one_size_maps_boxes_back(rule, tmp_path):
    """A picture of another shape gives what Keras gives, up to the rounding of its resized pixels to whole numbers."""
    keras.utils.set_random_seed(5)
    model = SSD(**{**SSD.tiny(), "resize": (rule, 96, 128 if rule == "shorter" else 96)})
    images, objects = scenes.batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    model.fit(tf.data.Dataset.from_tensors((images, objects)).repeat(), steps_per_epoch=60, verbose=0)
    size = (96, 128) if rule == "shorter" else (96, 96)
    model.export(tmp_path / "file.tflite", format="litert", size=size)
    wide = np.uint8(tf.image.resize(images["pixels"][0], [105, 140]))
    numbers = report.differences(model, runs.load(tmp_path / "file.tflite"), [wide], above=0.2)
    assert numbers["detections"] >= 2 and numbers["missing"] == 0
    assert numbers["box"] < 1 and numbers["score"] < 0.02, numbers


@pytest.mark.parametrize("arguments, words", [
    ({"kind": "int4"}, "kind must be one of .*got 'int4'"),
    ({"kind": "int8"}, "takes the ranges of activations from examples: give typical pictures"),
])  # fmt: skip
def test_refusals_are_one_line(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words) as error:
        SSD(**SSD.tiny()).export(tmp_path / "file.tflite", format="litert", **arguments)
    assert "\n" not in str(error.value)
