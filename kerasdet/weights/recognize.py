"""From a file of tensors to the detector that it is of: names and shapes say its class, its network and its classes.

What tensors cannot say (the sizes of pictures, the rules of suppression) is what the release of their names has.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from kerasdet.backbones import efficientnet
from kerasdet.weights import (
    automl,
    checkpoints,
    darknet,
    detectron2,
    files,
    object_detection,
    points,
    refinedet,
    slim,
    torch,
    torchvision,
)
from kerasdet.weights.plain import PlainDetector

# All 90 ids of COCO; those that no object has are called so.
UNUSED = "unused "
COCO_IDS = [name or f"{UNUSED}{i}" for i, name in enumerate(object_detection.COCO, start=1)]

# CornerNet's family: who has these heads, from the special to the general.
_POINTS = (
    ("att_modules.0.0.0.conv.weight", "CornerNetSaccade"),
    ("t_heats.0.0.conv.weight", "ExtremeNet"),
    ("ct_heats.0.0.conv.weight", "CenterNetTriplets"),
    ("tl_heats.0.0.conv.weight", "CornerNet"),
)


class Form(NamedTuple):
    """What tensors are of.

    detector: name of the class.
    arguments: of the class, a dict without `classes`.
    classes: their number.
    load: function of the model and the tensors, which copies them.
    """

    detector: str
    arguments: dict
    classes: int
    load: Callable


def load(path, names=None):
    """Reads a file of tensors by torchvision's, Detectron2's, Detectron's, CornerNet's, CenterNet's or others' names.

    Args:
        path: of the file, see `files.read`.
        names: of the file's classes, in their order; None for COCO's where there are 80, 90 or 91 and VOC's where there
            are 20. torchvision's RetinaNet counts a slot 0 that is no class: it is one of them.

    Returns:
        A `PlainDetector`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one line; it is damaged, of nothing that is known here, or has another number of classes.
    """
    return _of(files.read(path), path, names)


def load_checkpoint(path, names=None, form=None, averages=True):
    """Reads a checkpoint of EfficientDet's release, see `automl.load`, or of TensorFlow's Object Detection API.

    The latter averages no statistics of norms, and TensorFlow's releases of it hold no averages: what has none is taken
    itself.
    """
    if not str(path).endswith(".h5") and slim.is_release(checkpoints.names(path)):
        return _of(checkpoints.read(path, averages, every=False), path, names)
    return automl.load(path, form, names, averages)


def _of(tensors, path, names):
    """The `PlainDetector` of tensors."""
    if slim.is_release(tensors) and (reason := slim.refusal(tensors)):
        raise ValueError(f"{path}: {reason}.")
    try:
        form = _form(tensors, str(path))
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        what = f"no tensor {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise ValueError(f"{path}: {what}, by which its detector would be known.") from None
    if form is None:
        raise ValueError(
            f"{path}: of no detector that is known here; its first tensor is '{next(iter(tensors))[:80]}'. Weights of "
            "a backbone alone are given as `backbone_weights`."
        )
    if names is not None and len(names) != form.classes:
        raise ValueError(f"{path}: it has {form.classes} classes, but {len(names)} names are given.")

    def fill(model):
        try:
            form.load(model, tensors)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    return PlainDetector(form.detector, form.arguments, list(names or _names(form)), fill, str(path))


def _names(form):
    """Names of classes by their number."""
    known = {80: darknet.COCO, 90: COCO_IDS, 91: [f"{UNUSED}0", *COCO_IDS], 20: darknet.VOC}
    if form.classes == 1 and form.arguments.get("keypoints"):
        return ["person"]
    return known.get(form.classes) or [f"class {i}" for i in range(form.classes)]


def _form(tensors, path):
    """The `Form` of tensors; None where no release has such names."""
    for family in (_detectron, _torchvision, _cornernet, _centernet, _refinedet, _effdet, _slim):
        form = family(tensors, path)
        if form is not None:
            return form
    return None


def _count(tensors, pattern):
    """How many of a row of tensors there are: `pattern` has a place for 0, 1, 2 ..."""
    number = 0
    while pattern.format(number) in tensors:
        number += 1
    return number


def _torchvision(tensors, path):
    """Its nine detectors, on a ResNet of any depth."""
    regions = "roi_heads.box_predictor.cls_score.weight"
    if regions in tensors:
        kind = "keypointrcnn" if any("keypoint_predictor" in name for name in tensors) else "fasterrcnn"
        kind = "maskrcnn" if any("mask_predictor" in name for name in tensors) else kind
        second = "backbone.fpn.inner_blocks.0.1.running_mean" in tensors
        builder, classes = f"{kind}_resnet50_fpn{'_v2' if second else ''}", len(tensors[regions]) - 1
    elif "head.classification_head.cls_logits.weight" in tensors:
        second = "head.classification_head.conv.0.1.weight" in tensors
        builder = f"retinanet_resnet50_fpn{'_v2' if second else ''}"
        classes = len(tensors["head.classification_head.cls_logits.weight"]) // 9
    elif "backbone.scale_weight" in tensors:
        builder = "ssd300_vgg16"
        classes = len(tensors["head.classification_head.module_list.0.weight"]) // 4 - 1
    elif "head.classification_head.module_list.0.1.weight" in tensors:
        builder = "ssdlite320_mobilenet_v3_large"
        classes = len(tensors["head.classification_head.module_list.0.1.weight"]) // 6 - 1
    else:
        return None
    more = {}
    if "resnet50" in builder:
        more["backbone"] = backbone = torch.resnet_name(tensors, "backbone.body.")
        # Without counters the norms were frozen, as in the first COCO weights, which were trained with an epsilon of 0.
        frozen = not any(name.endswith("num_batches_tracked") for name in tensors)
        if not second:
            more |= {"norm": "frozen", "backbone": {"name": backbone, "epsilon": 0.0}} if frozen else {"norm": "batch"}
    if "keypointrcnn" in builder:
        more["num_keypoints"] = tensors["roi_heads.keypoint_predictor.kps_score_lowres.weight"].shape[1]
    arguments = torchvision.arguments(builder, **more)
    return Form(arguments.pop("name"), arguments, classes, torchvision.load)


def _detectron(tensors, path):
    """Detectron2's, and Detectron's by its names."""
    tensors, old = detectron2.renamed(tensors)
    if "proposal_generator.rpn_head.conv.weight" not in tensors and "head.cls_subnet.0.weight" not in tensors:
        return None
    detector, arguments, classes = detectron2.arguments(tensors, old)
    return Form(detector, arguments, classes, lambda model, _: detectron2.load(model, tensors))


def _hourglass(tensors, prefix):
    """The arguments of an hourglass by its tensors' shapes; of all blocks the second norm has the block's channels."""
    stacks = f"{prefix}{'hgs' if prefix else 'kps'}"
    widths, blocks, level = [], [], f"{stacks}.0"
    while f"{level}.up1.0.bn2.weight" in tensors:
        widths.append(len(tensors[f"{level}.up1.0.bn2.weight"]))
        blocks.append(_count(tensors, f"{level}.up1.{{}}.bn2.weight"))
        level += ".low2"
    widths.append(len(tensors[f"{level}.0.bn2.weight"]))
    blocks.append(_count(tensors, f"{level}.{{}}.bn2.weight"))
    return {
        "name": "hourglass104",
        "stacks": _count(tensors, f"{prefix}cnvs.{{}}.conv.weight"),
        "widths": tuple(widths),
        "blocks": tuple(blocks),
        "stem": len(tensors[f"{prefix}pre.0.conv.weight"]),
        "output": len(tensors[f"{prefix}cnvs.0.conv.weight"]),
        "fire": f"{stacks}.0.up1.0.conv_1x1.weight" in tensors,
        "down": 2 + (f"{prefix}pre.2.conv1.weight" in tensors),
    }


def _cornernet(tensors, path):
    """CornerNet, CornerNet-Lite, ExtremeNet and CenterNet's triplets, all on hourglasses."""
    detector = next((detector for name, detector in _POINTS if name in tensors), None)
    if detector is None:
        return None
    prefix = "hg." if "hg.pre.0.conv.weight" in tensors else ""
    heat = "t" if detector == "ExtremeNet" else "tl"
    first = tensors[f"{heat}_heats.0.0.conv.weight"]
    arguments = {"backbone": _hourglass(tensors, prefix), "head_width": len(first)}
    if detector != "ExtremeNet":
        pool = "tl_modules" if prefix else "tl_cnvs"
        arguments["pool_width"] = len(tensors[f"{pool}.0.p1_conv1.conv.weight"])
    if arguments["backbone"]["fire"]:  # CornerNet-Squeeze
        arguments |= {"head_size": first.shape[-1], "corners": 20, "pairs": 100}
    return Form(detector, arguments, len(tensors[f"{heat}_heats.0.1.weight"]), points.load)


def _centernet(tensors, path):
    """CenterNet on its four kinds of networks; pictures keep their size, as in the release's tests."""
    hourglass, flat = "hm.0.0.conv.weight" in tensors, "hm.0.weight" in tensors
    if not hourglass and not flat:
        return None
    arguments = {"resize": ("centernet_keep", 128 if hourglass else 32), "clip": False, "deconvs": ()}
    if hourglass:
        arguments["backbone"] = _hourglass(tensors, "")
    elif "base.base_layer.0.weight" in tensors:
        arguments["backbone"] = "dla34"
    else:
        deformable = "deconv_layers.0.conv_offset_mask.weight" in tensors
        step = 6 if deformable else 3
        up = [tensors[f"deconv_layers.{place}.weight"] for place in range(step - 3, 3 * step, step)]
        arguments |= {"deconvs": tuple(one.shape[1] for one in up), "deformable": deformable}
        arguments["backbone"] = {"name": torch.resnet_name(tensors), "normalization": "centernet"}
    first, last = ("hm.0.0.conv", "hm.0.1") if hourglass else ("hm.0", "hm.2")
    arguments["head_width"] = len(tensors[f"{first}.weight"])
    joints = next((len(tensors[name]) for name in ("hps.2.bias", "hps.0.1.bias") if name in tensors), 0)
    arguments |= {"keypoints": joints // 2, "max_objects": 32} if joints else {}
    return Form("CenterNet", arguments, len(tensors[f"{last}.weight"]), points.load)


def _refinedet(tensors, path):
    """RefineDet on VGG16: 320 and 512 have the same tensors, of which the file's name tells."""
    if "odm_conf.0.weight" not in tensors:
        return None
    side = 512 if "512" in re.split(r"[/\\]", path)[-1] else 320
    arguments = {"resize": ("stretch", side, side), "clip": False, "empty_negatives": 0}
    return Form("RefineDet", arguments, len(tensors["odm_conf.0.weight"]) // 3 - 1, refinedet.load)


def _effdet(tensors, path):
    """EfficientDet by the names of its PyTorch port."""
    if "backbone.conv_stem.weight" not in tensors or "box_net.predict.conv_pw.weight" not in tensors:
        return None
    lite = not any(".se." in name for name in tensors)
    # Of the last stage but one, blocks and channels tell the number.
    count, wide = _count(tensors, "backbone.blocks.5.{}.bn3.weight"), len(tensors["backbone.blocks.5.0.bn3.weight"])
    blocks, *_, channels = efficientnet.STAGES[5]
    number = next(
        (
            i
            for i, (width, depth) in enumerate(efficientnet.LITE_SCALES if lite else efficientnet.SCALES)
            if (math.ceil(depth * blocks), efficientnet.rounded(channels, width)) == (count, wide)
        ),
        None,
    )
    if number is None:
        raise ValueError(f"an EfficientNet with {count} blocks of {wide} channels")
    backbone = f"{'lite' if lite else 'b'}{number}"
    width, levels = tensors["box_net.predict.conv_pw.weight"].shape[1], _count(tensors, "class_net.bn_rep.0.{}.bn.bias")
    side, scale = automl.PICTURES[automl.form_of(backbone, width, path)]
    arguments = {
        "backbone": f"efficientnet_{backbone}",
        "levels": (3, 2 + levels),
        "width": width,
        "cells": _count(tensors, "fpn.cell.{}.fnode.0.after_combine.conv.conv_dw.weight"),
        "depth": _count(tensors, "class_net.conv_rep.{}.conv_dw.weight"),
        "fusion": "fast" if any(name.endswith("edge_weights") for name in tensors) else "sum",
        "scale": scale,
        "resize": ("corner", side, side),
        "clip": False,
        **({"activation": "relu6", "nms": "hard"} if lite else {}),
    }
    return Form("EfficientDet", arguments, len(tensors["class_net.predict.conv_pw.weight"]) // 9, automl.load_effdet)


def _slim(tensors, path):
    """SSD on MobileNets of TensorFlow's Object Detection API."""
    if not slim.is_release(tensors):
        return None
    arguments, classes = slim.arguments(tensors)
    return Form("SSD", arguments, classes, slim.load)
