"""Detectron2's and Detectron's detectors: their names and values as torchvision has them, and the arguments.

Both see BGR. Detectron2 has the background last, no box or mask of it, and a cell's anchors size by size; Detectron's
names are Caffe2's.
"""

import re

import numpy as np

from kerasdet.weights import torch, torchvision

# Detectron2's names as torchvision's, in turns.
_NAMES = (
    (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"^backbone\.bottom_up\.stem\.|^backbone\.stem\.", "backbone.body."),
    (r"^roi_heads\.res5\.", "backbone.bottom_up.res5."),
    (r"^backbone\.res", "backbone.bottom_up.res"),
    (r"^backbone\.bottom_up\.res(\d)\.", lambda m: f"backbone.body.layer{int(m[1]) - 1}."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"^(backbone\.body\..*)conv(\d)\.norm\.", r"\1bn\2."),
    (r"^backbone\.fpn_(lateral|output)(\d)\.(norm\.)?",
     lambda m: f"fpn {m[2]} {'inner' if m[1] == 'lateral' else 'layer'} {1 if m[3] else 0} "),
    (r"^backbone\.top_block\.", "backbone.fpn.extra_blocks."),
    (r"^proposal_generator\.rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.head.bbox_pred."),
    (r"^roi_heads\.(box|mask)_head\.(?:conv|mask_fcn)(\d)\.(norm\.)?",
     lambda m: f"roi_heads.{m[1]}_head.{int(m[2]) - 1}.{1 if m[3] else 0}."),
    (r"^roi_heads\.mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_heads\.mask_head\.predictor\.", "roi_heads.mask_predictor.mask_fcn_logits."),
    (r"^roi_heads\.keypoint_head\.conv_fcn(\d)\.", lambda m: f"roi_heads.keypoint_head.{2 * int(m[1]) - 2}."),
    (r"^roi_heads\.keypoint_head\.score_lowres\.", "roi_heads.keypoint_predictor.kps_score_lowres."),
    (r"^head\.(cls|bbox)_subnet\.(\d)\.",
     lambda m: f"head.{_HEADS[m[1]]}_head.conv.{int(m[2]) // 2}.0."),
    (r"^head\.cls_score\.", "head.classification_head.cls_logits."),
    (r"^head\.bbox_pred\.", "head.regression_head.bbox_reg."),
)  # fmt: skip
_HEADS = {"cls": "classification", "bbox": "regression"}

# Caffe2's names as Detectron2's; endings come after.
_CAFFE2 = (
    (r"^res_conv1_bn_", "backbone.bottom_up.stem.conv1.norm."),
    (r"^conv1_gn_", "backbone.bottom_up.stem.conv1.norm."),
    (r"^conv1_", "backbone.bottom_up.stem.conv1."),
    (r"^res(\d)_(\d+)_branch1_(bn_|gn_)?", lambda m: f"backbone.bottom_up.res{m[1]}.{m[2]}.shortcut.{_norm(m[3])}"),
    (r"^res(\d)_(\d+)_branch2([abc])_(bn_|gn_)?",
     lambda m: f"backbone.bottom_up.res{m[1]}.{m[2]}.conv{'abc'.index(m[3]) + 1}.{_norm(m[4])}"),
    (r"^fpn_inner_res(\d)_\d+_sum_(?:lateral_)?(gn_)?", lambda m: f"backbone.fpn_lateral{m[1]}.{_norm(m[2])}"),
    (r"^fpn_res(\d)_\d+_sum_(gn_)?", lambda m: f"backbone.fpn_output{m[1]}.{_norm(m[2])}"),
    (r"^fpn_([67])_", r"backbone.top_block.p\1."),
    (r"^conv_rpn_(?:fpn2_)?", "proposal_generator.rpn_head.conv."),
    (r"^rpn_cls_logits_(?:fpn2_)?", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn_bbox_pred_(?:fpn2_)?", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^head_conv(\d)_(gn_)?", lambda m: f"roi_heads.box_head.conv{m[1]}.{_norm(m[2])}"),
    (r"^fc([67])_", lambda m: f"roi_heads.box_head.fc{int(m[1]) - 5}."),
    (r"^(cls_score|bbox_pred)_", r"roi_heads.box_predictor.\1."),
    (r"^_\[mask\]_fcn(\d)_(gn_)?", lambda m: f"roi_heads.mask_head.mask_fcn{m[1]}.{_norm(m[2])}"),
    (r"^conv5_mask_", "roi_heads.mask_head.deconv."),
    (r"^mask_fcn_logits_", "roi_heads.mask_head.predictor."),
    (r"^conv_fcn(\d)_", r"roi_heads.keypoint_head.conv_fcn\1."),
    (r"^kps_score_lowres_", "roi_heads.keypoint_head.score_lowres."),
    (r"^retnet_(cls|bbox)_conv_n(\d)_fpn3_", lambda m: f"head.{m[1]}_subnet.{2 * int(m[2])}."),
    (r"^retnet_cls_pred_fpn3_", "head.cls_score."),
    (r"^retnet_bbox_pred_fpn3_", "head.bbox_pred."),
)  # fmt: skip
_ENDS = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}

# Of the norms, whose statistics Detectron has folded into scale and shift.
_EPSILON = 1e-5


def _norm(found):
    return "norm." if found else ""


def renamed(tensors):
    """Detectron's tensors as Detectron2 has them: the background is last, and there is no box or mask of it.

    Args:
        tensors: dict of name to array.

    Returns:
        Dict of Detectron2's name to array, and whether they were Detectron's; others are as they were.
    """
    if "conv1_w" not in tensors:
        return tensors, False
    found = {}
    for name, value in tensors.items():
        if name.endswith("_momentum") or value.ndim == 0:
            continue
        stem, _, end = name.rpartition("_")
        for pattern, new in _CAFFE2:
            stem, count = re.subn(pattern, new, f"{stem}_")
            if count:
                break
            stem = stem.removesuffix("_")
        name = f"{stem.removesuffix('.')}.{_ENDS.get(end, end)}"
        found[name] = _without_background(name, value)
    if any(name.endswith("_bn_s") for name in tensors):
        for name in [name for name in found if name.endswith("norm.weight")]:
            place = name.removesuffix("weight")
            found.setdefault(f"{place}running_mean", np.zeros_like(found[name]))
            found.setdefault(f"{place}running_var", np.full_like(found[name], 1 - _EPSILON))
    return found, True


def _without_background(name, value):
    if ".box_predictor.cls_score." in name:
        return np.roll(value, -1, axis=0)
    if ".box_predictor.bbox_pred." in name:
        return value[4:]
    return value[1:] if "mask_head.predictor." in name else value


def arguments(tensors, old=False):
    """What makes the detector that tensors are of.

    Args:
        tensors: dict of name to array, of `renamed`.
        old: whether they were Detectron's.

    Returns:
        The name of the class, its arguments, and the number of classes.
    """
    backbone = torch.resnet_name(_torchvision(tensors), "backbone.body.")
    wide, group = backbone.startswith("resnext"), not any(name.endswith("running_mean") for name in tensors)
    network = {
        "name": backbone,
        # MSRA's ResNets stride in the first convolution; ResNeXts and those with group norms in the second.
        "stride_in": "3x3" if wide or group else "1x1",
        "normalization": "torch" if wide else "rcnn" if old else "detectron",
    }
    common = {"backbone": network, "norm": "group" if group else "frozen", "anchor_offset": 0.5 if old else 0.0}
    if "head.cls_score.weight" in tensors:
        extra = "c" if tensors["backbone.top_block.p6.weight"].shape[1] != 256 else "p"
        classes = len(tensors["head.cls_score.weight"]) // 9
        return "RetinaNet", {**common, "extra_from": extra, "beta": 0.1}, classes
    common |= {"sampling_ratio": 2, "aligned": False} if old else {"sampling_ratio": 0, "beta": 0.0, "rpn_beta": 0.0}
    if "backbone.fpn_lateral2.weight" not in tensors:  # conv5_x runs on the regions
        common |= {
            "levels": (4, 4), "sizes": ((32, 64, 128, 256, 512),), "rpn_width": 1024, "before_nms": (12000, 6000),
            "roi_size": 14, "res5": True, "fc": (), "multiple": 1,
        }  # fmt: skip
    convs = sum(f"roi_heads.box_head.conv{i}.weight" in tensors for i in range(1, 5))
    if convs:
        common |= {"convs": convs, "fc": (1024,)}
    if group:
        common |= {"pyramid_norm": "group", "head_norm": "group"}
    classes = len(tensors["roi_heads.box_predictor.cls_score.weight"]) - 1
    masks, keypoints = "roi_heads.mask_head.predictor.weight", "roi_heads.keypoint_head.score_lowres.weight"
    if masks in tensors:
        layers = sum(f"roi_heads.mask_head.mask_fcn{i}.weight" in tensors for i in range(1, 5))
        common |= {"mask_convs": layers, "mask_size": 28 if layers else 14, "mask_norm": "group" if group else None}
    if keypoints in tensors:
        common |= {"masks": masks in tensors, "keypoints": tensors[keypoints].shape[1]}
    return "MaskRCNN" if masks in tensors or keypoints in tensors else "FasterRCNN", common, classes


def load(model, tensors):
    """Copies Detectron2's tensors into a detector.

    Args:
        model: the detector of `arguments`.
        tensors: dict of name to array, of `renamed`.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it as torchvision does.
    """
    sizes = len(model.sizes[0]) if hasattr(model, "rpn") else model.octaves
    found = {name: _value(name, value, sizes, len(model.ratios)) for name, value in _torchvision(tensors).items()}
    torchvision.load(model, found)


def _torchvision(tensors):
    """The tensors under torchvision's names; what is made at every start is left out."""
    found = {}
    finest = min((level for level in range(2, 6) if f"backbone.fpn_lateral{level}.weight" in tensors), default=2)
    heads = any(name.startswith("roi_heads.box_head.conv1.") for name in tensors)
    for name, value in tensors.items():
        if name.endswith("num_batches_tracked") or "anchor_generator" in name or name in ("pixel_mean", "pixel_std"):
            continue
        name = torchvision_name(name)
        if name.startswith("fpn "):
            _, level, kind, part, end = name.split(" ")
            name = f"backbone.fpn.{kind}_blocks.{int(level) - finest}.{part}.{end}"
        first = "5" if heads else "fc6"
        name = re.sub(r"^roi_heads\.box_head\.fc1\.", f"roi_heads.box_head.{first}.", name)
        found[re.sub(r"^roi_heads\.box_head\.fc2\.", "roi_heads.box_head.fc7.", name)] = value
    return found


def torchvision_name(name):
    """torchvision's name of one of Detectron2's tensors, but for the numbers of a pyramid's levels."""
    for pattern, new in _NAMES:
        name = re.sub(pattern, new, name)
    return name


def _value(name, value, sizes, ratios):
    """A tensor as torchvision has it."""
    if name == "backbone.body.conv1.weight":
        return value[:, ::-1]  # from BGR
    if name.startswith("roi_heads.box_predictor.cls_score."):
        return np.roll(value, 1, axis=0)
    if name.startswith("roi_heads.box_predictor.bbox_pred."):
        return np.concatenate([np.zeros_like(value[:4]), value])
    if name.startswith("roi_heads.mask_predictor.mask_fcn_logits."):
        return np.concatenate([np.zeros_like(value[:1]), value])
    if re.match(r"rpn\.head\.(cls_logits|bbox_pred)\.|head\.\w+\.(cls_logits|bbox_reg)\.", name):
        # Anchors from size by size to ratio by ratio.
        grouped = value.reshape(sizes, ratios, -1, *value.shape[1:])
        return np.swapaxes(grouped, 0, 1).reshape(value.shape)
    return value
