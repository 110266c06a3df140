"""TensorFlow's SSD-MobileNetV1: tensors in their places; with the real file its boxes and its AP.

KERASDET_WEIGHTS names a folder with `ssd_mobilenet_v1_300_coco.npz` and `.tflite`, KERASDET_DATA one with `coco` and
`photos`; the AP takes a minute: KERASDET_WEIGHTS=… KERASDET_DATA=… pytest -m "slow or not slow" tests/weights
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from kerasdet import data
from kerasdet.detectors import SSD, ssd
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.weights import names, object_detection, presets

ROOT = pathlib.Path(__file__).parents[2]
WEIGHTS = pathlib.Path(os.environ.get("KERASDET_WEIGHTS", "/nowhere"))
DATA = pathlib.Path(os.environ.get("KERASDET_DATA", "/nowhere"))
real = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="KERASDET_WEIGHTS names no folder of released weights")

ALPHA = 0.25
CHANNELS = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
EXTRAS = (512, 256, 256, 128)
CELLS = (3, 6, 6, 6, 6, 6)


def packed():
    """Random tensors under the release's names, of a network a quarter as wide; whole numbers with a scale."""
    rng = np.random.default_rng(0)
    channels = [int(ALPHA * c) for c in CHANNELS]
    found = {}

    def add(name, *shape, kind="kernel"):
        found[f"{name}/{kind}"] = rng.integers(-100, 100, shape).astype(np.int16)
        found[f"{name}/{kind}_scale"] = np.float32(0.01)
        found[f"{name}/bias"] = rng.normal(size=shape[-2] if kind == "depthwise_kernel" else shape[-1]).astype(
            np.float32
        )

    add("MobilenetV1/Conv2d_0", 3, 3, 3, channels[0])
    for i, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False), start=1):
        add(f"MobilenetV1/Conv2d_{i}_depthwise", 3, 3, inputs, 1, kind="depthwise_kernel")
        add(f"MobilenetV1/Conv2d_{i}_pointwise", 1, 1, inputs, outputs)
    maps, last = [channels[11], channels[13]], channels[13]
    for i, wide in enumerate(EXTRAS, start=2):
        wide = int(ALPHA * wide)
        add(f"Conv2d_13_pointwise_1_Conv2d_{i}_1x1_{wide // 2}", 1, 1, last, wide // 2)
        add(f"Conv2d_13_pointwise_2_Conv2d_{i}_3x3_s2_{wide}", 3, 3, wide // 2, wide)
        maps, last = [*maps, wide], wide
    for i, (inputs, cells) in enumerate(zip(maps, CELLS, strict=True)):
        add(f"BoxPredictor_{i}/BoxEncodingPredictor", 1, 1, inputs, 4 * cells)
        add(f"BoxPredictor_{i}/ClassPredictor", 1, 1, inputs, 91 * cells)
    return found


def test_tensors_are_in_their_places(tmp_path):
    tensors = packed()
    np.savez(tmp_path / "release.npz", **tensors)
    model = SSD.from_preset(object_detection.ssd_mobilenet_v1(tmp_path / "release.npz"))
    assert len(model.classes) == 80 and model.classes[11:13] == ("stop sign", "parking meter")
    boxes = tensors["BoxPredictor_1/BoxEncodingPredictor/bias"].reshape(6, 4)
    np.testing.assert_array_equal(model.box_head.predictors[1].bias, boxes[:, [1, 0, 3, 2]].ravel())
    scores = tensors["BoxPredictor_0/ClassPredictor/kernel"].reshape(-1, 3, 91) * np.float32(0.01)
    ours = model.class_head.predictors[0].kernel.numpy().reshape(-1, 3, 81)
    np.testing.assert_allclose(ours[:, :, [0, 1, 11, 12, 80]], scores[:, :, [0, 1, 11, 13, 90]], rtol=1e-6)
    norm = model.backbone.network.get_layer("conv_dw_3_bn")
    shift = tensors["MobilenetV1/Conv2d_3_depthwise/bias"]
    x = np.random.default_rng(1).normal(size=(1, 4, 4, len(shift))).astype(np.float32)
    np.testing.assert_allclose(norm(x), x + shift, atol=1e-5)

    del tensors["MobilenetV1/Conv2d_7_pointwise/bias"]
    np.savez(tmp_path / "less.npz", **tensors)
    with pytest.raises(ValueError, match="less.npz: no tensor 'backbone/network/conv_pw_7_bn/gamma'"):
        SSD.from_preset(object_detection.ssd_mobilenet_v1(tmp_path / "less.npz"))
    np.savez(tmp_path / "more.npz", **packed(), **{"Other/bias": np.zeros(1)})
    with pytest.raises(ValueError, match="more.npz: the model has no place for the tensor 'Other/bias'"):
        SSD.from_preset(object_detection.ssd_mobilenet_v1(tmp_path / "more.npz"))


def test_the_form_is_that_of_the_detector(tmp_path):
    np.savez(tmp_path / "release.npz", **packed())
    plain = object_detection.ssd_mobilenet_v1(tmp_path / "release.npz")
    form = {**ssd.mobilenet_v1(ALPHA), "extra_norm": None, "resize": ("squeeze", 300, 300)}
    assert {**plain.arguments, "separable": False, "box_grid": None} == {**form, "box_grid": None}


def command(folder, *arguments):
    """Runs the tool in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "kerasdet", "import_weights", *arguments], cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )  # fmt: skip


def test_the_command_writes_a_preset(tmp_path):
    np.savez(tmp_path / "release.npz", **packed())
    done = command(tmp_path, "ssd_mobilenet_v1_coco", "--file=release.npz", "--out=preset")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SSD, 80 classes, " in done.stdout and done.stdout.rstrip().endswith("written to preset")
    expected = object_detection.ssd_mobilenet_v1(tmp_path / "release.npz").tensors
    found = presets.load(tmp_path / "preset").tensors
    assert set(found) == set(expected)
    for name, value in found.items():
        np.testing.assert_array_equal(expected[name], value, err_msg=name)
    content = presets.read(tmp_path / "preset")
    assert content["published"]["AP"] == 0.203 and "Apache-2.0" in content["license"]


def test_the_command_refuses_the_rest(tmp_path):
    done = command(tmp_path, "ssd_mobilenet_v9")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith(
        "error: there is no released model 'ssd_mobilenet_v9'; did you mean 'ssd_mobilenet_v2_coco'?"
    )


@pytest.fixture(scope="module")
def released():
    return SSD.from_preset(object_detection.ssd_mobilenet_v1(WEIGHTS / "ssd_mobilenet_v1_300_coco.npz"))


@real
def test_default_boxes_are_the_released_ones(released):
    anchors = np.load(WEIGHTS / "ssd_mobilenet_v1_300_coco.npz")["anchors/anchors"].astype(np.float64) * 300
    centers, sides = anchors[:, 1::-1], anchors[:, :1:-1]
    np.testing.assert_allclose(
        released.anchors((300, 300)), np.concatenate([centers - sides / 2, centers + sides / 2], 1), atol=1e-3
    )


@real
def test_the_quantized_file_holds_the_same(released):
    other = object_detection.ssd_mobilenet_v1(WEIGHTS / "ssd_mobilenet_v1_300_coco.tflite")
    for name, value in names.weights(released).items():
        np.testing.assert_allclose(other.tensors[name], value, rtol=1e-6, err_msg=name)


@real
def test_boxes_on_a_photo(released):
    """What the release itself finds, in float: within two pixels."""
    found = released.detect(DATA / "photos" / "dog.jpg")
    for name, score, box in (
        ("bicycle", 0.74, (136, 121, 580, 436)),
        ("car", 0.66, (464, 79, 691, 171)),
        ("cat", 0.63, (130, 213, 333, 537)),
        ("dog", 0.61, (130, 212, 328, 534)),
    ):
        best = found["names"].index(name)
        np.testing.assert_allclose(found["boxes"][best], box, atol=2, err_msg=name)
        assert found["scores"][best] == pytest.approx(score, abs=0.01)


@real
@pytest.mark.slow
def test_ap_on_coco(released):
    metrics = Evaluator(released, data.read(DATA / "coco", "val"), 8)()
    assert metrics["AP"] == pytest.approx(0.205, abs=0.01)
    assert metrics["AP50"] == pytest.approx(0.362, abs=0.01)
