"""Weights files of Keras with and without classifier, and what backbones say of the maps that they return."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.backbones import pretrained

SMALL = {"name": "mobilenet_v2", "alpha": 0.35}


def write_legacy(path, model):
    """The layout of the files that `keras.applications` downloads: a group per layer, names as attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=variable.numpy())
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A whole MobileNetV2, and its weights in both of Keras' formats, with its classifier and without."""
    folder = tmp_path_factory.mktemp("weights")
    whole = keras.applications.MobileNetV2(weights=None, alpha=0.35)
    bare = keras.applications.MobileNetV2(weights=None, alpha=0.35, include_top=False, input_shape=(None, None, 3))
    bare.set_weights(whole.get_weights()[: len(bare.weights)])
    paths = {"whole.h5": write_legacy(folder / "whole.h5", whole), "bare.h5": write_legacy(folder / "bare.h5", bare)}
    for name, model in (("whole", whole), ("bare", bare)):
        paths[f"{name}.weights.h5"] = str(folder / f"{name}.weights.h5")
        model.save_weights(paths[f"{name}.weights.h5"])
    return bare, paths


@pytest.mark.parametrize("file", ["whole.h5", "bare.h5", "whole.weights.h5", "bare.weights.h5"])
def test_with_and_without_classifier(files, file):
    expected, paths = files
    network = pretrained.network(keras.applications.MobileNetV2, paths[file], alpha=0.35)
    for got, wanted in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(got, wanted)
    backbone = backbones.build(SMALL, levels=(3, 5), weights=paths[file])
    np.testing.assert_array_equal(backbone.network.get_layer("Conv1").kernel, expected.get_layer("Conv1").kernel)


@pytest.mark.parametrize("backbone, file, reason", [
    ({**SMALL, "alpha": 0.5}, "whole.h5", "mobilenetv2_0.50_224 .Shape mismatch"),
    ({**SMALL, "alpha": 0.5}, "bare.weights.h5", "mobilenetv2_0.50_224 .A total of"),
    ("mobilenet_v1", "bare.h5", "mobilenet_1.00_224 .Layer count mismatch"),
    ("resnet50_keras", "whole.h5", "resnet50 .Layer count mismatch"),
])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_another_networks_file_is_one_line(files, backbone, file, reason):
    with pytest.raises(ValueError, match=f"{file}: no weights file of keras.applications' {reason}") as error:
        backbones.build(backbone, levels=(3, 5), weights=files[1][file])
    assert "\n" not in str(error.value)


def test_no_file_and_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.h5: no such weights file"):
        backbones.build(SMALL, levels=(3, 5), weights=str(tmp_path / "none.h5"))
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="text.h5: no weights file of keras.applications' mobilenetv2_0.35_224"):
        backbones.build(SMALL, levels=(3, 5), weights=str(tmp_path / "text.h5"))


@pytest.mark.parametrize("norm", ["group", None])
def test_keras_resnets_keep_their_norm(norm):
    for make in (lambda **options: backbones.build(levels=(4, 4), **options), backbones.stage):
        with pytest.raises(ValueError, match=f"norm must be 'batch', 'sync' or 'frozen' for Keras' .*, got {norm!r}"):
            make(backbone="resnet50_keras", norm=norm, weights="imagenet")


MAPS = [
    *[({"name": "resnet18", "width": 8, "output_stride": stride}, (2, 5)) for stride in (32, 8)],
    ({"name": "resnet50", "width": 8}, (3, 4)),
    ({"name": "resnext50_32x4d", "width": 32}, (4, 5)),
    *[({"name": "vgg16", "width": 4}, levels) for levels in ((0, 4), (4, 4))],
    *[({"name": "vgg16_atrous", "width": 4}, levels) for levels in ((3, 4), (1, 3))],
    *[({"name": "zf", "width": 24}, levels) for levels in ((1, 4), (2, 3))],
    *[({"name": "mobilenet_v1", "alpha": 0.25}, levels) for levels in ((1, 5), (4, 4))],
    *[(SMALL, levels) for levels in ((1, 5), (4, 5))],
    *[(f"mobilenet_v3_large{form}", levels) for form, levels in (("", (1, 5)), ("_reduced", (4, 5)))],
]


@pytest.mark.parametrize("backbone, levels", MAPS, ids=str)
def test_strides_and_channels_are_those_of_the_maps(backbone, levels):
    network = backbones.build(backbone, levels=levels)
    maps = network(tf.zeros([1, 64, 128, 3]))
    assert isinstance(network.strides, tuple) and isinstance(network.channels, tuple)
    for one, stride, channels in zip(maps, network.strides, network.channels, strict=True):
        assert one.shape == (1, 64 // stride, 128 // stride, channels)
