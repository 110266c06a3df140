"""EfficientDet's release: a checkpoint of TensorFlow 1 under its names, averages first, faults in one line."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import EfficientDet
from kerasdet.weights import automl, object_detection, presets
from tests import companion

# By the release's own graph: name and shape in a D0 of width 16, one cell and one convolution a head.
KNOWN = {
    "efficientnet-b0/stem/conv2d/kernel": (3, 3, 3, 32),
    "efficientnet-b0/blocks_0/conv2d/kernel": (1, 1, 32, 16),
    "efficientnet-b0/blocks_0/depthwise_conv2d/depthwise_kernel": (3, 3, 32, 1),
    "efficientnet-b0/blocks_0/tpu_batch_normalization/gamma": (32,),
    "efficientnet-b0/blocks_0/tpu_batch_normalization_1/beta": (16,),
    "efficientnet-b0/blocks_1/conv2d/kernel": (1, 1, 16, 96),
    "efficientnet-b0/blocks_1/conv2d_1/kernel": (1, 1, 96, 24),
    "efficientnet-b0/blocks_1/tpu_batch_normalization_2/moving_mean": (24,),
    "efficientnet-b0/blocks_15/se/conv2d/bias": (48,),
    "efficientnet-b0/blocks_15/se/conv2d_1/kernel": (1, 1, 48, 1152),
    "resample_p6/conv2d/bias": (16,),
    "resample_p6/bn/moving_variance": (16,),
    "fpn_cells/cell_0/fnode0/WSM_1": (),
    "fpn_cells/cell_0/fnode4/WSM_2": (),
    "fpn_cells/cell_0/fnode1/resample_0_2_6/conv2d/kernel": (1, 1, 320, 16),
    "fpn_cells/cell_0/fnode3/resample_0_0_8/bn/gamma": (16,),
    "fpn_cells/cell_0/fnode5/resample_0_2_10/conv2d/bias": (16,),
    "fpn_cells/cell_0/fnode7/op_after_combine12/conv/pointwise_kernel": (1, 1, 16, 16),
    "fpn_cells/cell_0/fnode7/op_after_combine12/bn/beta": (16,),
    "class_net/class-0/depthwise_kernel": (3, 3, 16, 1),
    "class_net/class-0-bn-7/gamma": (16,),
    "class_net/class-predict/bias": (810,),
    "box_net/box-0-bn-3/moving_mean": (16,),
    "box_net/box-predict/pointwise_kernel": (1, 1, 16, 36),
}


@pytest.fixture(scope="module")
def model():
    small = {"width": 16, "cells": 1, "depth": 1, "resize": ("corner", 64, 64)}
    return EfficientDet(80, **small)


def theirs(model, rng):
    """Random tensors by the release's names, in its layouts, with its 90 classes."""
    found = {}
    for variable, name, _ in automl.variables(model):
        shape = (*variable.shape[:-1], {9 * 80: 9 * 90}.get(variable.shape[-1], variable.shape[-1]))
        value = rng.uniform(0.1, 1, shape).astype(np.float32)
        if name.endswith("/WSM"):
            found |= {f"{name}{f'_{i}' if i else ''}": part for i, part in enumerate(value)}
        else:
            found[name] = np.transpose(value, (0, 1, 3, 2)) if name.endswith("depthwise_kernel") else value
    return found


def write(folder, tensors):
    """A checkpoint as TensorFlow 1 writes it, by name."""
    folder.mkdir()
    values = list(map(tf.constant, tensors.values()))
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model"), tensor_names=list(tensors), shape_and_slices=[""] * len(tensors), tensors=values
    )
    (folder / "checkpoint").write_text('model_checkpoint_path: "model"')
    return folder


AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture(scope="module")
def tensors(model):
    return theirs(model, np.random.default_rng(0))


@pytest.fixture(scope="module")
def folder(tensors, tmp_path_factory):
    """A release: weights, their averages, which are half as large, and what the optimizer keeps."""
    every = {name + AVERAGE: value / 2 for name, value in tensors.items()}
    beside = {"global_step": np.int64(7), "box_net/box-predict/bias/Momentum": np.zeros(36, np.float32)}
    return write(tmp_path_factory.mktemp("release") / "efficientdet-d0", {**tensors, **every, **beside})


def test_names_are_the_releases(model, tensors):
    shapes = {name: np.shape(value) for name, value in tensors.items()}
    assert {name: shapes.get(name) for name in KNOWN} == KNOWN
    pairs = automl.variables(model)
    assert len({one for _, one, _ in pairs}) == len({one for *_, one in pairs}) == len(pairs) == len(model.weights)


def test_averages_are_preferred(folder, tensors):
    plain = automl.load(folder)
    assert plain.arguments["resize"] == ("corner", 512, 512) and plain.arguments["fusion"] == "fast"
    assert (plain.arguments["width"], plain.arguments["cells"], plain.arguments["depth"]) == (16, 1, 1)
    model = EfficientDet.from_preset(plain._replace(arguments={**plain.arguments, "resize": ("corner", 64, 64)}))
    assert list(model.classes) == [name for name in object_detection.COCO if name]
    norm = "fpn_cells/cell_0/fnode7/op_after_combine12/bn/gamma"
    node = model.pyramid.cells[0].nodes[7]
    np.testing.assert_array_equal(node.conv.pointwise.norm.gamma, tensors[norm] / 2)
    np.testing.assert_array_equal(node.scale, [tensors[f"fpn_cells/cell_0/fnode7/WSM{i}"] / 2 for i in ("", "_1")])
    depthwise = tensors["class_net/class-0/depthwise_kernel"]
    np.testing.assert_array_equal(model.class_head.tower[0].depthwise.kernel[:, :, 0], depthwise[..., 0] / 2)
    boxes = tensors["box_net/box-predict/bias"].reshape(9, 4)[:, [1, 0, 3, 2]]
    np.testing.assert_array_equal(model.box_head.predictor.pointwise.bias, boxes.ravel() / 2)
    classes = tensors["class_net/class-predict/bias"].reshape(9, 90)[:, [0, 11 + 1, 89]]
    ours = model.class_head.predictor.pointwise.bias.numpy().reshape(9, 80)[:, [0, 11, 79]]
    np.testing.assert_array_equal(ours, classes / 2)


def test_the_weights_themselves_if_asked_for(model, folder, tensors):
    plain = automl.load(folder / "model", averages=False)
    plain.tensors(model)
    np.testing.assert_array_equal(model.backbone.stem.kernel, tensors["efficientnet-b0/stem/conv2d/kernel"])


def test_a_file_of_keras(model, tensors, tmp_path):
    """Every variable lies in its layer's group, under its whole name."""
    with h5py.File(tmp_path / "efficientdet-d0.h5", "w") as file:
        for name, value in tensors.items():
            file[f"{name.split('/')[0]}/{name}:0"] = value
    automl.load(tmp_path / "efficientdet-d0.h5").tensors(model)
    np.testing.assert_array_equal(model.backbone.stem.kernel, tensors["efficientnet-b0/stem/conv2d/kernel"])


def test_the_command_writes_a_preset(folder, tensors, tmp_path):
    done = companion.command("import_weights", f"--checkpoint={folder}", f"--out={tmp_path / 'd0'}", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("EfficientDet, 80 classes, ")
    found = presets.load(tmp_path / "d0").tensors["backbone/stem/kernel"]
    np.testing.assert_array_equal(found, tensors["efficientnet-b0/stem/conv2d/kernel"] / 2)


def test_faults_are_one_line(model, tensors, tmp_path):
    bias = "class_net/class-0/bias"
    averaged = {name + AVERAGE: value for name, value in tensors.items()}
    short = {**tensors, bias: np.zeros(3, np.float32)}
    for name, changed, words in (
        (
            "missing",
            {k: v for k, v in tensors.items() if k != "resample_p6/bn/beta"},
            "no tensor 'resample_p6/bn/beta'",
        ),
        ("extra", {**tensors, "seg_net/bias": np.zeros(2, np.float32)}, "no place for the tensor 'seg_net/bias'"),
        ("shape", short, rf"tensor '{bias}' has shape \(3,\), the model's is \(16,\)"),
        ("other", {"logits/bias": np.zeros(2, np.float32)}, "no checkpoint of EfficientDet's release: no tensor"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            automl.load(write(tmp_path / name, changed), averages=False).tensors(model)
        assert "\n" not in str(error.value)
    del averaged[bias + AVERAGE]
    lacking = write(tmp_path / "lacking", {**tensors, **averaged})
    with pytest.raises(ValueError, match=f"'{bias}' has no moving average, as 1 of .* averages=False takes"):
        automl.load(lacking)
    with pytest.raises(ValueError, match="90 classes, but 2 names are given"):
        automl.load(lacking, classes=["a", "b"], averages=False)
    with pytest.raises(ValueError, match="form must be one of"):
        automl.load(lacking, form="d9", averages=False)
    with pytest.raises(FileNotFoundError, match="no checkpoint there"):
        automl.load(tmp_path / "nowhere")
    data = next(lacking.glob("model.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ValueError, match="a damaged checkpoint") as error:
        automl.load(lacking, averages=False)
    assert "\n" not in str(error.value)


def test_forms_are_those_of_the_detector():
    from kerasdet.detectors import efficientdet

    for name, (side, scale) in automl.PICTURES.items():
        form = efficientdet.FORMS[name]
        assert (form["resize"], form.get("scale", 4.0)) == (("corner", side, side), scale)
    assert automl.PICTURES.keys() == efficientdet.FORMS.keys()
    assert automl.form_of("b6", 384, "somewhere/efficientdet-d7") == "d7"
    assert [automl.form_of(*one, "x") for one in (("b6", 384), ("b7", 384), ("lite3", 200))] == ["d6", "d7x", "lite3x"]
