"""Files of torchvision, Detectron2 and Detectron, as backbones too: written by their names, and loaded again."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from kerasdet import backbones
from kerasdet.detectors import DETECTORS, FasterRCNN, MaskRCNN, RetinaNet
from kerasdet.detectors.detector import Detector
from kerasdet.weights import darknet, detectron2, names, recognize, torchvision, zoo
from tests.weights import torch_files


def torch_layout(value):
    return np.ascontiguousarray(np.transpose(value, (3, 2, 0, 1)) if np.ndim(value) == 4 else value)


def drawn(model):
    """Gives a model random weights."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" not in variable.name:
            variable.assign(rng.uniform(0.1, 1, variable.shape).astype("f4"))
    return model


def of_torchvision(model):
    """A model's tensors as torchvision holds them; dense layers see regions channel by channel, boxes go by class."""
    found = {}
    for variable, name in torchvision.variables(model):
        value = variable.numpy()
        if "box_predictor.bbox_pred" in name:  # the last axis from coordinate by coordinate
            value = np.swapaxes(value.reshape(*value.shape[:-1], 4, -1), -1, -2).reshape(value.shape)
        if value.ndim == 2:
            side = model.roi_size if name.endswith(("fc6.weight", "box_head.5.weight")) else 1
            value = value.reshape(side, side, -1, value.shape[-1]).transpose(3, 2, 0, 1).reshape(value.shape[-1], -1)
        found[name] = torch_layout(value)
    return found


# Of the forms of Detectron2's zoo: the detector, and what the file must say of it.
SMALL = {"width": 32, "norm": "frozen"}
C4 = {
    "backbone": {"name": "resnet50", "stride_in": "1x1", "normalization": "detectron"}, "levels": (4, 4),
    "sizes": ((32, 64, 128, 256, 512),), "rpn_width": 1024, "roi_size": 14, "res5": True, "fc": (),
}  # fmt: skip
FPN = {"backbone": {"name": "resnet50", "stride_in": "1x1", "normalization": "detectron"}}
GROUP = {"norm": "group", "pyramid_norm": "group", "head_norm": "group", "convs": 4, "fc": (1024,)}
GROUPED = {"backbone": {"name": "resnet50", "normalization": "detectron"}, **GROUP}
FORMS = {
    "faster_rcnn_c4": (FasterRCNN, C4),
    "faster_rcnn_fpn": (FasterRCNN, FPN),
    "mask_rcnn_c4": (MaskRCNN, {**C4, "mask_convs": 0, "mask_size": 14}),
    "mask_rcnn_fpn_gn": (MaskRCNN, {**GROUPED, "mask_norm": "group"}),
    "keypoint_rcnn_fpn": (MaskRCNN, {**FPN, "masks": False, "keypoints": 17}),
    "retinanet": (RetinaNet, FPN),
}

# torchvision's names as Detectron2's, written down apart from the loader.
TO_DETECTRON2 = (
    ("backbone.body.layer4.", "ROI_RES5."), ("backbone.body.conv1.", "backbone.bottom_up.stem.conv1."),
    ("backbone.body.bn1.", "backbone.bottom_up.stem.conv1.norm."),
    ("backbone.body.layer1.", "backbone.bottom_up.res2."),
    ("backbone.body.layer2.", "backbone.bottom_up.res3."), ("backbone.body.layer3.", "backbone.bottom_up.res4."),
    (".downsample.0.", ".shortcut."), (".downsample.1.", ".shortcut.norm."), (".bn1.", ".conv1.norm."),
    (".bn2.", ".conv2.norm."), (".bn3.", ".conv3.norm."), ("backbone.fpn.extra_blocks.", "backbone.top_block."),
    ("rpn.head.conv.0.0.", "proposal_generator.rpn_head.conv."),
    ("rpn.head.cls_logits.", "proposal_generator.rpn_head.objectness_logits."),
    ("rpn.head.bbox_pred.", "proposal_generator.rpn_head.anchor_deltas."), ("box_head.fc6.", "box_head.fc1."),
    ("box_head.fc7.", "box_head.fc2."), ("box_head.5.", "box_head.fc1."),
    ("mask_predictor.conv5_mask.", "mask_head.deconv."), ("mask_predictor.mask_fcn_logits.", "mask_head.predictor."),
    ("keypoint_predictor.kps_score_lowres.", "keypoint_head.score_lowres."),
    ("classification_head.cls_logits.", "cls_score."), ("regression_head.bbox_reg.", "bbox_pred."),
)  # fmt: skip


def of_detectron2(model):
    """A model's tensors as Detectron2 holds them: BGR, background last and without boxes and masks, sizes first."""
    found, c4 = {}, getattr(model, "res5", None) is not None
    first = 3 if isinstance(model, RetinaNet) else 2
    sizes = len(model.sizes[0]) if hasattr(model, "rpn") else model.octaves
    for name, value in of_torchvision(model).items():
        if name == "backbone.body.conv1.weight":
            value = value[:, ::-1]
        if "box_predictor.cls_score" in name:
            value = np.concatenate([value[1:], value[:1]])
        if "box_predictor.bbox_pred" in name:
            value = value[4:]
        if "mask_fcn_logits" in name:
            value = value[1:]
        if "cls_logits" in name or "rpn.head.bbox_pred" in name or "bbox_reg" in name:
            parted = value.reshape(len(model.ratios), sizes, -1, *value.shape[1:])
            value = np.concatenate([parted[r, s] for s in range(sizes) for r in range(len(model.ratios))])
        for old, new in TO_DETECTRON2:
            name = name.replace(old, new)
        name = name.replace("ROI_RES5.", "roi_heads.res5." if c4 else "backbone.bottom_up.res5.")
        part = name.split(".")
        if part[1] == "fpn":
            kind = {"inner_blocks": "lateral", "layer_blocks": "output"}[part[2]]
            norm = "norm." if part[4] == "1" else ""
            name = f"backbone.fpn_{kind}{first + int(part[3])}.{norm}{part[5]}"
        elif part[0] == "roi_heads" and part[1] in ("box_head", "mask_head") and part[2].isdigit():
            stem = {"box_head": "conv", "mask_head": "mask_fcn"}[part[1]]
            name = f"roi_heads.{part[1]}.{stem}{int(part[2]) + 1}.{'norm.' if part[3] == '1' else ''}{part[4]}"
        elif part[0] == "roi_heads" and part[1] == "keypoint_head" and part[2].isdigit():
            name = f"roi_heads.keypoint_head.conv_fcn{int(part[2]) // 2 + 1}.{part[3]}"
        elif part[0] == "head" and part[2] == "conv":
            kind = {"classification_head": "cls", "regression_head": "bbox"}[part[1]]
            name = f"head.{kind}_subnet.{2 * int(part[3])}.{part[5]}"
        found[name] = np.ascontiguousarray(value)
    return found


def without_background(name, value):
    """What Detectron2 holds nothing for is 0."""
    value = value.copy()
    if name.startswith("predictor/boxes"):
        value.reshape(*value.shape[:-1], 4, -1)[..., 0] = 0
    if name.startswith("mask_head/predictor"):
        value[..., 0] = 0
    return value


LARGE = ("mask_rcnn_c4", "mask_rcnn_fpn_gn", "keypoint_rcnn_fpn", "faster_rcnn_fpn")


@pytest.mark.parametrize("form", [pytest.param(f, marks=[pytest.mark.slow] * (f in LARGE)) for f in FORMS])
def test_forms_of_detectron2(tmp_path, form):
    kind, arguments = FORMS[form]
    classes = 1 if "keypoint" in form else 80
    model = drawn(kind(classes, **arguments))
    content = {"model": of_detectron2(model), "__author__": "somebody", "matching_heuristics": True}
    content["model"]["pixel_mean"] = np.float32([103.53, 116.28, 123.675])
    file = tmp_path / "model_final.pkl"
    torch_files.write_pickle(file, content)
    again = Detector.from_preset(file)
    assert type(again) is kind
    assert list(again.classes) == (["person"] if classes == 1 else darknet.COCO)
    assert again.arguments["anchor_offset"] == 0 and again.backbone.normalization == "detectron"
    assert again.backbone.stride_in == ("3x3" if "gn" in form else "1x1")
    ours = names.weights(again)
    for name, value in names.weights(model).items():
        np.testing.assert_array_equal(ours[name], without_background(name, value.numpy()), err_msg=name)


# Caffe2's names of some of Detectron's blobs.
CAFFE2 = {
    "conv1_w": "backbone.bottom_up.stem.conv1.weight",
    "res_conv1_bn_s": "backbone.bottom_up.stem.conv1.norm.weight",
    "res2_0_branch1_w": "backbone.bottom_up.res2.0.shortcut.weight",
    "res2_0_branch1_bn_b": "backbone.bottom_up.res2.0.shortcut.norm.bias",
    "res4_5_branch2a_w": "backbone.bottom_up.res4.5.conv1.weight",
    "res5_2_branch2c_bn_s": "backbone.bottom_up.res5.2.conv3.norm.weight",
    "res3_1_branch2b_gn_b": "backbone.bottom_up.res3.1.conv2.norm.bias",
    "fpn_inner_res5_2_sum_w": "backbone.fpn_lateral5.weight",
    "fpn_inner_res4_22_sum_lateral_b": "backbone.fpn_lateral4.bias",
    "fpn_res2_2_sum_b": "backbone.fpn_output2.bias",
    "fpn_6_w": "backbone.top_block.p6.weight",
    "conv_rpn_fpn2_w": "proposal_generator.rpn_head.conv.weight",
    "rpn_cls_logits_w": "proposal_generator.rpn_head.objectness_logits.weight",
    "rpn_bbox_pred_fpn2_b": "proposal_generator.rpn_head.anchor_deltas.bias",
    "fc6_w": "roi_heads.box_head.fc1.weight",
    "head_conv3_gn_s": "roi_heads.box_head.conv3.norm.weight",
    "_[mask]_fcn2_w": "roi_heads.mask_head.mask_fcn2.weight",
    "conv5_mask_w": "roi_heads.mask_head.deconv.weight",
    "conv_fcn8_b": "roi_heads.keypoint_head.conv_fcn8.bias",
    "kps_score_lowres_w": "roi_heads.keypoint_head.score_lowres.weight",
    "retnet_cls_conv_n3_fpn3_w": "head.cls_subnet.6.weight",
    "retnet_bbox_pred_fpn3_b": "head.bbox_pred.bias",
}


def test_names_and_values_of_detectron():
    """The background, which is first there, is last or gone; statistics of norms are 0 and 1."""
    blobs = {name: np.float32([i, i + 0.5]) for i, name in enumerate(CAFFE2)} | {"conv1_w_momentum": np.zeros(2, "f4")}
    blobs |= {"cls_score_b": np.float32([7, 1, 2]), "bbox_pred_b": np.arange(12, dtype=np.float32)}
    blobs |= {"mask_fcn_logits_b": np.float32([7, 1, 2])}
    found, old = detectron2.renamed(blobs)
    assert old
    for theirs, name in CAFFE2.items():
        np.testing.assert_array_equal(found[name], blobs[theirs], err_msg=theirs)
    np.testing.assert_array_equal(found["roi_heads.box_predictor.cls_score.bias"], [1, 2, 7])
    np.testing.assert_array_equal(found["roi_heads.box_predictor.bbox_pred.bias"], np.arange(4, 12))
    np.testing.assert_array_equal(found["roi_heads.mask_head.predictor.bias"], [1, 2])
    np.testing.assert_array_equal(found["backbone.bottom_up.stem.conv1.norm.running_mean"], [0, 0])
    variance = found["backbone.bottom_up.stem.conv1.norm.running_var"]
    np.testing.assert_array_equal(np.sqrt(variance + np.float32(1e-5)), [1, 1])
    assert not any("momentum" in name for name in found)


def classifier(network, change=None):
    """torchvision's classifier on a small network, without counters, as its first files were."""
    from kerasdet.weights import torch

    tensors = {name: torch_layout(v.numpy()) for v, name in torch.of_convs(torch.resnet(network))}
    return {**tensors, "fc.weight": np.zeros([1000, 8], "f4"), "fc.bias": np.zeros(1000, "f4")}


@pytest.fixture(scope="module")
def resnet18():
    import tensorflow as tf

    network = backbones.build({"name": "resnet18", "width": 8}, levels=(2, 5))
    network(tf.zeros([1, 64, 64, 3]))
    return drawn(network)


def test_classifiers_of_torchvision_as_backbones(tmp_path, resnet18):
    file = torch_files.write_legacy(tmp_path / "resnet18-5c106cde.pth", classifier(resnet18))
    small = {**RetinaNet.tiny(), "backbone": {"name": "resnet18", "width": 8}}
    model = RetinaNet(**{**small, "norm": "frozen"}, backbone_weights=str(file))
    for name, value in names.weights(resnet18).items():
        np.testing.assert_array_equal(names.weights(model.backbone)[name], value, err_msg=name)
    assert model.get_config()["backbone_weights"] is None
    for change, words in (
        ({"backbone": {"name": "resnet34", "width": 8}}, "it holds a resnet18, the backbone is of depth 34"),
        ({"backbone": {"name": "resnet18", "width": 16}}, r"tensor 'conv1.weight' has shape .*the model's is"),
        ({"backbone": {"name": "resnet18", "width": 8, "normalization": "caffe"}}, "needs the backbone's arguments"),
        ({"backbone": {"name": "resnet18", "width": 8}, "norm": "group"}, None),
        ({"backbone": "mobilenet_v3_large"}, "fit ResNets and VGGs without atrous fc6, not MobileNetV3"),
    ):
        if words is not None:
            with pytest.raises(ValueError, match=words) as raised:
                RetinaNet(**{**small, **change}, backbone_weights=str(file))
            assert str(raised.value).startswith(f"{file}: ") and len(str(raised.value).splitlines()) == 1
    with pytest.raises(FileNotFoundError, match="none.pth: no such weights file"):
        RetinaNet(**small, backbone_weights="none.pth")


def test_a_detector_is_no_classifier_and_a_classifier_no_detector(tmp_path, resnet18):
    from kerasdet.weights import imagenet

    file = torch_files.write_pth(tmp_path / "resnet18.pth", classifier(resnet18))
    assert imagenet.is_classifier(file)
    with pytest.raises(ValueError, match="of no detector that is known here; .*given as `backbone_weights`"):
        Detector.from_preset(file)


@pytest.fixture(scope="module")
def ssdlite(tmp_path_factory):
    """torchvision's smallest detector, of 91 slots, in a file with its counters."""
    arguments = torchvision.arguments("ssdlite320_mobilenet_v3_large")
    model = drawn(DETECTORS[arguments.pop("name")](90, **arguments))
    tensors = {name: torch_layout(v.numpy()) for v, name in torchvision.variables(model)}
    tensors["backbone.features.0.0.1.num_batches_tracked"] = np.array(7)
    return model, tensors, torch_files.write_pth(tmp_path_factory.mktemp("ssdlite") / "mine.pth", tensors)


def test_a_file_of_one_s_own_keeps_every_slot(ssdlite):
    model, _, file = ssdlite
    again = Detector.from_preset(file, above=0.4)
    assert again.above == 0.4 and again.classes[0] == "person" and again.classes[11] == "unused 12"
    for name, value in names.weights(model).items():
        np.testing.assert_array_equal(names.weights(again)[name], value, err_msg=name)
    again = Detector.from_preset(file, names=[f"n{i}" for i in range(90)], classes=["n7", "other"])
    assert again.classes == ("n7", "other")
    old, new = model.class_head.predictors[2].bias.numpy(), again.class_head.predictors[2].bias.numpy()
    np.testing.assert_array_equal(new.reshape(6, 3)[:, :2], old.reshape(6, 91)[:, [0, 8]])


def test_faults_of_a_file_and_its_arguments(ssdlite, tmp_path):
    _, tensors, file = ssdlite
    first = "backbone.features.0.0.0.weight"
    for change, words in (
        ({"more": np.zeros(1, "f4")}, "no place for the tensor 'more'"),
        ({first: None}, f"no tensor '{first}', which the model needs"),
        ({first: np.zeros([16, 3, 3, 5], "f4")}, f"tensor '{first}' has shape"),
        ({first: np.full([16, 3, 3, 3], np.nan, "f4")}, f"tensor '{first}' has numbers that are not finite"),
    ):
        spoiled = {name: value for name, value in {**tensors, **change}.items() if value is not None}
        path = torch_files.write_safetensors(tmp_path / "spoiled.safetensors", spoiled)
        with pytest.raises(ValueError, match=words) as raised:
            Detector.from_preset(path)
        assert str(raised.value).startswith(f"{path}: ") and len(str(raised.value).splitlines()) == 1
    with pytest.raises(ValueError, match="mine.pth: it has 90 classes, but 2 names are given"):
        Detector.from_preset(file, names=["a", "b"])
    with pytest.raises(ValueError, match="mine.pth: SSD takes no abov"):
        Detector.from_preset(file, abov=0.1)
    with pytest.raises(ValueError, match="is a preset of SSD, not of RetinaNet"):
        RetinaNet.from_preset(file)


def test_a_release_s_own_name_is_checked_and_loses_unused_slots(ssdlite, tmp_path, monkeypatch):
    """The first digits of the SHA-256 in torchvision's names, by which COCO's eighty classes are known."""
    from kerasdet.weights import files

    _, tensors, file = ssdlite
    wrong = tmp_path / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    wrong.write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="another file: its SHA-256 begins with [0-9a-f]{8}, not a79551df"):
        Detector.from_preset(wrong)
    entry = zoo.RELEASED["ssdlite320_mobilenet_v3_large_coco"]
    digits = files.sha256(file)[:8]
    entry = entry._replace(url=f"https://example.org/ssdlite-{digits}.pth", sha256=digits)
    monkeypatch.setitem(zoo.RELEASED, "ssdlite320_mobilenet_v3_large_coco", entry)
    right = tmp_path / f"ssdlite-{digits}.pth"
    right.write_bytes(file.read_bytes())
    model = Detector.from_preset(right)
    assert list(model.classes) == darknet.COCO
    theirs = tensors["head.classification_head.module_list.0.1.bias"].reshape(6, 91)
    ours = model.class_head.predictors[0].bias.numpy().reshape(6, 81)
    np.testing.assert_array_equal(ours[:, [0, 1, 12, 80]], theirs[:, [0, 1, 13, 90]])


def test_the_table_and_its_command():
    for name, one in zoo.RELEASED.items():
        assert one.detector in DETECTORS and one.published["data"] and one.license and one.source, name
        assert all(0 < value < 1 for key, value in one.published.items() if key != "data")
        assert one.url is None or one.url.startswith("https://")
        assert len(one.sha256) in (0, 8, 64) and set(one.sha256) <= set("0123456789abcdef")
    before = time.perf_counter()
    program = (
        "import sys; from kerasdet.__main__ import main; sys.argv[1:] = {}; main(); assert 'keras' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program.format(["models", "mask", "--sort=AP", "--task=masks", "--json"])],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found)[0] == "maskrcnn_resnet50_fpn_v2_coco" and len(found) == 3
    assert time.perf_counter() - before < 60
    done = subprocess.run([sys.executable, "-m", "kerasdet", "models", "no such thing"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().startswith("error: no released model is so")


def test_names_of_classes_by_their_number():
    for count, expected in ((80, darknet.COCO), (20, darknet.VOC), (2, ["class 0", "class 1"])):
        assert recognize._names(recognize.Form("SSD", {}, count, None)) == expected
