"""Truncated SVD: the best approximation of its rank, and a detector whose full rank is the detector itself."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import runs
from kerasdet.detectors import RetinaNet
from kerasdet.detectors.detector import Detector
from kerasdet.layers import FC
from kerasdet.load import load
from kerasdet.weights import names, svd


@keras.saving.register_keras_serializable("kerasdet_tests")
class Flat(Detector):
    """One box, the whole picture, whose class two fully connected layers say."""

    terms = ("class",)

    def __init__(self, classes, ranks=None, **kwargs):
        super().__init__(classes, **{"resize": ("stretch", 8, 8), "multiple": 1, **kwargs})
        ranks = ranks or (None, None)
        self.fc6, self.fc7 = (FC(units, rank, activation="relu") for units, rank in zip((24, 16), ranks, strict=True))
        self.predictor = FC(self.num_classes)

    def network(self, images, training=False):
        flat = tf.reshape(tf.cast(images["pixels"], tf.float32) / 255, [-1, 8 * 8 * 3])
        return {"scores": tf.nn.softmax(self.predictor(self.fc7(self.fc6(flat))))}

    def detections(self, outputs, images):
        return {
            "boxes": images["windows"][:, None],
            "scores": tf.reduce_max(outputs["scores"], -1, keepdims=True),
            "classes": tf.argmax(outputs["scores"], -1, tf.int32)[:, None],
            "counts": tf.ones(tf.shape(images["ids"]), tf.int32),
        }


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return Flat(3)


def scores(model):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    return model.network({"pixels": pixels})["scores"].numpy()


def test_best_approximation():
    """By Eckart and Young the error is the norm of the singular values left out; no other factors are nearer."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(30, 20)).astype(np.float32)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    for rank in (1, 7, 20):
        inner, outer = svd.factors(matrix, rank)
        assert inner.shape == (30, rank) and outer.shape == (rank, 20)
        error = np.linalg.norm(inner @ outer - matrix)
        np.testing.assert_allclose(error, np.linalg.norm(values[rank:]), atol=1e-4)
        for _ in range(5):
            near = (inner + 0.01 * rng.normal(size=inner.shape)) @ (outer + 0.01 * rng.normal(size=outer.shape))
            assert np.linalg.norm(near - matrix) > error - 1e-4
    np.testing.assert_allclose(np.linalg.norm(inner, axis=0), values, rtol=1e-4)  # the first holds the values


def test_wrong_rank():
    with pytest.raises(ValueError, match=r"rank must lie in 1...2 for a matrix of \(3, 2\), got 3"):
        svd.factors(np.zeros((3, 2)), 3)


def test_full_rank_changes_nothing(model):
    small, kept = svd.compress(model, (24, 16))
    np.testing.assert_allclose(scores(small), scores(model), atol=1e-5)
    assert kept == pytest.approx({"fc6": 1, "fc7": 1}, abs=1e-5)


def test_lower_rank(model):
    for variable in names.weights(model).values():
        variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    small, kept = svd.compress(model, [10, 5])
    assert small.count_params() - model.count_params() == 10 * (192 + 24 + 1) + 5 * (24 + 16 + 1) - 192 * 24 - 24 * 16
    for name, rank in (("fc6", 10), ("fc7", 5)):
        layer, whole = getattr(small, name), np.asarray(getattr(model, name).kernel)
        values = np.linalg.svd(whole, compute_uv=False)
        assert kept[name] == pytest.approx(np.square(values[:rank]).sum() / np.square(values).sum(), rel=1e-4)
        error = np.linalg.norm(np.asarray(layer.inner.kernel) @ np.asarray(layer.kernel) - whole)
        assert error == pytest.approx(np.linalg.norm(values[rank:]), rel=1e-3)
        np.testing.assert_array_equal(layer.bias, getattr(model, name).bias)
    np.testing.assert_array_equal(small.predictor.kernel, model.predictor.kernel)


def test_what_cannot_be_compressed(model):
    small, _ = svd.compress(model, (10, 5))
    with pytest.raises(ValueError, match=r"compressed already, to ranks \(10, 5\)"):
        svd.compress(small, (4, 4))
    other = RetinaNet(1, backbone={"name": "resnet18", "width": 8}, width=16, resize=("stretch", 64, 64))
    with pytest.raises(ValueError, match="RetinaNet has no fully connected layers to compress"):
        svd.compress(other, (4, 4))


def test_tool(model, tmp_path):
    """The run that it writes loads, and detects as the compressed model."""
    model.save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_text(json.dumps({"model": {"name": "Flat"}}))
    code = "import runpy, test_svd; runpy.run_module('tools.compress', run_name='__main__')"
    flags = [str(tmp_path), "--ranks=10,5", f"--out={tmp_path / 'small'}"]
    path = os.pathsep.join((os.path.dirname(__file__), os.getcwd()))
    subprocess.run([sys.executable, "-c", code, *flags], check=True, env={**os.environ, "PYTHONPATH": path})
    small, _ = svd.compress(model, (10, 5))
    np.testing.assert_allclose(scores(load(tmp_path / "small")), scores(small), atol=1e-6)
    assert runs.read_config(tmp_path / "small").model.ranks == [10, 5]
