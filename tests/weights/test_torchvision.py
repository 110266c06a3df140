"""torchvision's names: every variable has one, no two the same, and those that its releases are known by are there."""

import numpy as np
import pytest

from kerasdet.detectors import mask_rcnn, ssd
from kerasdet.load import build
from kerasdet.weights import torchvision

# By torchvision's own module tree: name, and shape in torch's layout.
KNOWN = {
    "backbone.features.0.0.0.weight": (16, 3, 3, 3),
    "backbone.features.0.0.1.running_var": (16,),
    "backbone.features.0.1.block.0.0.weight": (16, 1, 3, 3),
    "backbone.features.0.1.block.1.0.weight": (16, 16, 1, 1),
    "backbone.features.0.4.block.2.fc1.weight": (24, 72, 1, 1),
    "backbone.features.0.11.block.0.0.weight": (480, 80, 1, 1),
    "backbone.features.0.11.block.2.fc2.bias": (480,),
    "backbone.features.0.13.0.weight": (672, 112, 1, 1),
    "backbone.features.1.0.1.0.weight": (672, 1, 5, 5),
    "backbone.features.1.0.2.fc1.weight": (168, 672, 1, 1),
    "backbone.features.1.0.3.0.weight": (80, 672, 1, 1),
    "backbone.features.1.1.block.0.0.weight": (480, 80, 1, 1),
    "backbone.features.1.3.0.weight": (480, 80, 1, 1),
    "backbone.extra.0.0.0.weight": (256, 480, 1, 1),
    "backbone.extra.0.1.0.weight": (256, 1, 3, 3),
    "backbone.extra.3.2.1.bias": (128,),
    "head.classification_head.module_list.0.0.0.weight": (672, 1, 3, 3),
    "head.classification_head.module_list.0.1.weight": (546, 672, 1, 1),
    "head.regression_head.module_list.5.1.bias": (24,),
}


@pytest.fixture(scope="module")
def model():
    return build(torchvision.arguments("ssdlite320_mobilenet_v3_large"), 90)


def test_forms_are_those_of_the_detectors():
    assert torchvision.MODELS["ssdlite320_mobilenet_v3_large"] == ("SSD", ssd.SSDLITE_V3)
    detector, arguments = torchvision.MODELS["keypointrcnn_resnet50_fpn"]
    assert detector == "MaskRCNN" and mask_rcnn.KEYPOINT.items() <= arguments.items()


def torch_shape(variable):
    shape = tuple(variable.shape)
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape


def test_names_of_ssdlite(model):
    pairs = torchvision.variables(model)
    shapes = {name: torch_shape(variable) for variable, name in pairs}
    assert len(shapes) == len(pairs) == len(model.weights)
    assert {name: shapes.get(name) for name in KNOWN} == KNOWN


def test_tensors_of_ssdlite(model):
    """Kernels are turned from torch's layout, counters of batches are left out, faults are one line."""
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=torch_shape(v)).astype(np.float32) for v, name in torchvision.variables(model)}
    torchvision.load(model, {**tensors, "backbone.features.0.0.1.num_batches_tracked": np.int64(7)})
    kernel = model.backbone.blocks[12].depthwise.kernel.numpy()
    np.testing.assert_array_equal(kernel[1, 4, 0], tensors["backbone.features.1.0.1.0.weight"][:, 0, 1, 4])
    predictor = tensors["head.classification_head.module_list.0.1.weight"]
    np.testing.assert_array_equal(model.class_head.predictors[0].kernel[0, 0], predictor[:, :, 0, 0].T)
    last = "head.regression_head.module_list.5.1.bias"
    for change, words in (
        ({"more": np.zeros(1)}, "no place for the tensor 'more'"),
        ({last: np.zeros(5)}, f"tensor '{last}' has shape"),
    ):
        with pytest.raises(ValueError, match=words):
            torchvision.load(model, {**tensors, **change})
    with pytest.raises(ValueError, match=f"no tensor '{last}'"):
        torchvision.load(model, {name: value for name, value in tensors.items() if name != last})
