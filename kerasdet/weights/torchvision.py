"""torchvision's detectors: the arguments that make ours equal to them, and their tensors by name."""

import re

import numpy as np

from kerasdet.weights import tensors as named
from kerasdet.weights import torch

_RETINANET = {
    "normalizer": "image",
    "limit": 300,
    "torchvision_anchors": True,
}

_REGIONS = {
    "backbone": {"name": "resnet50", "epsilon": 0.0},
    "norm": "frozen",
    "torchvision_anchors": True,
    "aligned": False,
}

_REGIONS_V2 = {
    **_REGIONS,
    "backbone": "resnet50",
    "norm": "batch",
    "pyramid_norm": "batch",
    "rpn_depth": 2,
    "convs": 4,
    "fc": (1024,),
    "head_norm": "batch",
}

_SSDLITE = {
    "resize": ("stretch", 320, 320),
    "backbone": "mobilenet_v3_large_reduced",
    "norm": "batch",
    "levels": (4, 5),
    "l2_norm": None,
    "extras": ((512, 3, 2, 1), (256, 3, 2, 1), (256, 3, 2, 1), (128, 3, 2, 1)),
    "extra_norm": "batch",
    "activation": "relu6",
    "separable": True,
    "scales": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    "ratios": ((2, 3),) * 6,
    "steps": None,
    "clip_boxes": True,
    "above": 0.001,
    "per_class": 300,
    "suppression": 0.55,
    "limit": 300,
}

# Layers on flattened regions.
_FLAT = ("roi_heads.box_head.fc6.weight", "roi_heads.box_head.5.weight")

# torchvision's names of our pairs of arguments, in training and at inference.
_PAIRS = {"before_nms": "rpn_pre_nms_top_n", "after_nms": "rpn_post_nms_top_n"}

# Detector and arguments of each of torchvision's builders. The first COCO weights were trained with an epsilon of 0.
MODELS = {
    "retinanet_resnet50_fpn": (
        "RetinaNet",
        {
            **_RETINANET,
            "backbone": {"name": "resnet50", "epsilon": 0.0},
            "norm": "frozen",
            "extra_from": "p",
            "beta": 0.0,
        },
    ),
    "retinanet_resnet50_fpn_v2": (
        "RetinaNet",
        {
            **_RETINANET,
            "backbone": "resnet50",
            "norm": "batch",
            "extra_from": "c",
            "head_norm": "group",
            "box_loss": "giou",
        },
    ),
    "ssd300_vgg16": ("SSD", {"scales": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05), "clip_boxes": True}),
    "ssdlite320_mobilenet_v3_large": ("SSD", _SSDLITE),
    "fasterrcnn_resnet50_fpn": ("FasterRCNN", _REGIONS),
    "fasterrcnn_resnet50_fpn_v2": ("FasterRCNN", _REGIONS_V2),
    "maskrcnn_resnet50_fpn": ("MaskRCNN", _REGIONS),
    "maskrcnn_resnet50_fpn_v2": ("MaskRCNN", {**_REGIONS_V2, "mask_norm": "batch"}),
    "keypointrcnn_resnet50_fpn": ("MaskRCNN", {**_REGIONS, "masks": False, "keypoints": 17}),
}


def arguments(name, min_size=800, max_size=1333, **options):
    """What makes the detector that torchvision's builder of this name makes.

    Args:
        name: a key of `MODELS`.
        min_size, max_size: of the resized picture's sides, pixels; an SSD has one size.
        options: further arguments of the detector, or torchvision's numbers of proposals by its own names.

    Returns:
        Dict of the detector's `name` and arguments, which `kerasdet.load.build` takes with the classes. torchvision's
        slot 0, without a class, counts in a RetinaNet; in the others it is the background, which does not.
    """
    detector, given = MODELS[name]
    size = {} if detector == "SSD" else {"resize": ("shorter", min_size, max_size)}
    for ours, theirs in _PAIRS.items():
        if options.keys() & {f"{theirs}_train", f"{theirs}_test"}:
            size[ours] = (options.pop(f"{theirs}_train", 2000), options.pop(f"{theirs}_test", 1000))
    if "num_keypoints" in options:
        size["keypoints"] = options.pop("num_keypoints")
    return {"name": detector, **given, **size, **options}


def load(model, tensors):
    """Copies torchvision's tensors into a detector.

    Args:
        model: the detector of `arguments`.
        tensors: dict of name to array, in torch's layouts; names from before torchvision 0.13 are understood.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it.
    """

    def side(name):
        return model.roi_size if name in _FLAT else 1

    tensors = {
        name: _ours(_coordinates_first(value) if "box_predictor.bbox_pred" in name else value, side(name))
        for name, value in _renamed(tensors).items()
        if not name.endswith("num_batches_tracked")
    }
    named.assign(variables(model), tensors)


def _ours(value, side):
    """An array in our layout; a layer on flattened regions of `side` cells sees them by row, column, channel."""
    if np.ndim(value) != 2:
        return torch.layout(value)
    return np.reshape(np.transpose(np.reshape(value, [len(value), -1, side, side]), (2, 3, 1, 0)), [-1, len(value)])


def _coordinates_first(value):
    """Rows of a box predictor, from class by class to coordinate by coordinate."""
    return np.reshape(np.swapaxes(np.reshape(value, [-1, 4, *value.shape[1:]]), 0, 1), value.shape)


def variables(model):
    """Pairs a detector's variables with torchvision's names.

    Returns:
        List of (variable, name).
    """
    layers = {"SSD": _ssd, "RetinaNet": _retinanet}.get(type(model).__name__, _regions)
    pairs = _dense(model) if layers is _regions else []
    if getattr(model, "l2_norm", None) is not None:
        pairs.append((model.l2_norm.scale, "backbone.scale_weight"))
    return pairs + torch.of_convs(layers(model))


def _pyramid(model):
    yield from torch.resnet(model.backbone, "backbone.body.")
    if getattr(model, "res5", None) is not None:
        yield from torch.blocks(model.res5.blocks, "backbone.body.layer4")
    if model.fpn is None:
        return
    for part, layers in (("inner", model.fpn.laterals), ("layer", model.fpn.outputs)):
        for i, conv in enumerate(layers):
            yield conv, f"backbone.fpn.{part}_blocks.{i}.0", f"backbone.fpn.{part}_blocks.{i}.1"


def _regions(model):
    yield from _pyramid(model)
    for i, conv in enumerate(model.rpn.tower):
        yield conv, f"rpn.head.conv.{i}.0", f"rpn.head.conv.{i}.1"
    yield model.rpn.classes, "rpn.head.cls_logits", None
    yield model.rpn.boxes, "rpn.head.bbox_pred", None
    for i, conv in enumerate(model.box_head.convs):
        yield conv, f"roi_heads.box_head.{i}.0", f"roi_heads.box_head.{i}.1"
    if getattr(model, "mask_head", None) is not None:
        for i, conv in enumerate(model.mask_head.convs):
            yield conv, f"roi_heads.mask_head.{i}.0", f"roi_heads.mask_head.{i}.1"
        yield model.mask_head.predictor, "roi_heads.mask_predictor.mask_fcn_logits", None
    if getattr(model, "keypoint_head", None) is not None:
        for i, conv in enumerate(model.keypoint_head.convs):
            yield conv, f"roi_heads.keypoint_head.{2 * i}", None


def _dense(model):
    """Pairs of the layers that are no `Conv`."""
    convs = len(model.box_head.convs)
    first = "5" if convs else "fc6"
    layers = [(fc, f"roi_heads.box_head.{first}") for fc in model.box_head.fc[:1]]
    layers += [(fc, f"roi_heads.box_head.fc{i}") for i, fc in enumerate(model.box_head.fc[1:], start=7)]
    layers += [(model.predictor.classes, "roi_heads.box_predictor.cls_score")]
    layers += [(model.predictor.boxes, "roi_heads.box_predictor.bbox_pred")]
    pairs = [(layer.kernel, layer.bias, name) for layer, name in layers]
    for branch, name in (
        ("mask_head", "mask_predictor.conv5_mask"),
        ("keypoint_head", "keypoint_predictor.kps_score_lowres"),
    ):
        if getattr(model, branch, None) is not None:
            deconv = getattr(model, branch).deconv
            pairs.append((deconv.kernel, deconv.bias, f"roi_heads.{name}"))
    return [pair for kernel, bias, name in pairs for pair in ((kernel, f"{name}.weight"), (bias, f"{name}.bias"))]


def _retinanet(model):
    yield from _pyramid(model)
    for i, conv in enumerate(model.fpn.extras, start=6):
        yield conv, f"backbone.fpn.extra_blocks.p{i}", None
    for head, part, last in (
        (model.class_head, "classification_head", "cls_logits"),
        (model.box_head, "regression_head", "bbox_reg"),
    ):
        for i, conv in enumerate(head.tower):
            yield conv, f"head.{part}.conv.{i}.0", f"head.{part}.conv.{i}.1"
        yield head.predictor, f"head.{part}.{last}", None


def _ssd(model):
    yield from (_vgg if model.l2_norm is not None else _mobilenet_v3)(model.backbone)
    lite = model.box_head.depthwise
    for i, extra in enumerate(model.extras, start=0 if lite else 1):
        for j, conv in enumerate(extra.convs):
            name = f"backbone.extra.{i}.{j if lite else 2 * j}"
            yield conv, f"{name}.0" if lite else name, f"{name}.1"
    for head, part in ((model.class_head, "classification_head"), (model.box_head, "regression_head")):
        for i, predictor in enumerate(head.predictors):
            name = f"head.{part}.module_list.{i}"
            if lite:
                yield head.depthwise[i], f"{name}.0.0", f"{name}.0.1"
            yield predictor, f"{name}.1" if lite else name, None


def _vgg(backbone):
    *early, last = backbone.stages
    place = 0  # of a convolution among convolutions, ReLUs and pools
    for stage in early:
        for conv in stage:
            yield conv, f"backbone.features.{place}", None
            place += 2
        place += 1
    for i, conv in enumerate(last):
        yield conv, f"backbone.extra.0.{1 + 2 * i}", None
    yield backbone.fc6, "backbone.extra.0.7.1", None
    yield backbone.fc7, "backbone.extra.0.7.3", None


def _mobilenet_v3(backbone):
    """In torchvision the network is cut within its last block of stride 2, after the expansion."""
    yield backbone.stem, "backbone.features.0.0.0", "backbone.features.0.0.1"
    cut = max(i for i, block in enumerate(backbone.blocks, start=1) if block.stride > 1)
    for i, block in enumerate(backbone.blocks, start=1):
        name = f"backbone.features.0.{i}.block" if i < cut else f"backbone.features.1.{i - cut}"
        name += "" if i <= cut else ".block"
        place = 0
        if block.expand is not None:
            expand = f"backbone.features.0.{i}" if i == cut else f"{name}.0"
            yield block.expand, f"{expand}.0", f"{expand}.1"
            place = 1
        yield block.depthwise, f"{name}.{place}.0", f"{name}.{place}.1"
        if block.excite is not None:
            place += 1
            yield block.excite.fc1, f"{name}.{place}.fc1", None
            yield block.excite.fc2, f"{name}.{place}.fc2", None
        yield block.project, f"{name}.{place + 1}.0", f"{name}.{place + 1}.1"
    last = f"backbone.features.1.{len(backbone.blocks) - cut + 1}"
    yield backbone.last, f"{last}.0", f"{last}.1"


def _renamed(tensors):
    """Names of before torchvision 0.13 as they are today."""
    # In heads with norms, which never had others, every second name looks like an old one.
    new_heads = any(re.match(r"head\.\w+\.conv\.\d+\.0\.", name) for name in tensors)

    def today(name):
        name = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", name)
        name = re.sub(r"rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", name)
        name = re.sub(r"mask_head\.mask_fcn(\d)\.", lambda m: f"mask_head.{int(m[1]) - 1}.0.", name)
        if new_heads:
            return name
        return re.sub(r"(head\.\w+\.conv\.)(\d+)\.(weight|bias)$", lambda m: f"{m[1]}{int(m[2]) // 2}.0.{m[3]}", name)

    return {today(name): value for name, value in tensors.items()}
