"""Released tensors of CornerNet, its heirs and CenterNet by name: state dicts of torch, whose networks see BGR."""

import numpy as np

from kerasdet.backbones.dla import DLA, Tree
from kerasdet.backbones.hourglass import Fire, Hourglass, Level
from kerasdet.weights import tensors as named
from kerasdet.weights import torch

# CenterNet's names of our outputs; CornerNet's of what is read off at a point, and CornerNet-Lite's; and of points.
CENTERNET = {
    "heat": "hm", "size": "wh", "offset": "reg", "joint": "hps", "joint_heat": "hm_hp", "joint_offset": "hp_offset",
}  # fmt: skip
CORNERNET = {"heat": "heats", "tag": "tags", "offset": "regrs"}
LITE = {**CORNERNET, "offset": "offs"}
POINTS = {
    "top_left": "tl", "bottom_right": "br", "center": "ct", "top": "t", "left": "l", "bottom": "b", "right": "r",
}  # fmt: skip

# Marks of the halves of a norm that two of our layers share.
HALVES = ("[first half]", "[second half]")
# Of what every network begins with.
_STEMS = ("conv1.weight", "base.base_layer.0.weight", "pre.0.conv.weight", "hg.pre.0.conv.weight")
# ImageNet's classifier, which saved DLA models hold and never use.
_UNUSED = ("base.fc.weight", "base.fc.bias")


def load(model, tensors):
    """Copies released tensors into a detector.

    Args:
        model: a detector on points of the release's form.
        tensors: dict of name to array, in torch's layouts, with or without "module." before each name.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it.
    """
    tensors = {name.removeprefix("module."): np.asarray(value) for name, value in tensors.items()}
    found = {}
    for name, value in tensors.items():
        if name.endswith("num_batches_tracked") or name in _UNUSED:
            continue
        found[name] = torch.layout(value[:, ::-1] if name in _STEMS else value)
    copy(variables(model), found)


def copy(pairs, tensors):
    """Copies tensors in our layouts into variables.

    Args:
        pairs: list of (variable, name); two variables may share a tensor, of which the `HALVES` are marked.
        tensors: dict of name to array.

    Raises:
        ValueError: see `load`.
    """
    found = dict(tensors)
    for half, mark in enumerate(HALVES):
        for name in [name for _, name in pairs if mark in name]:
            whole = name.replace(mark, "")
            if whole in found:
                found[name] = np.split(found[whole], 2)[half]
    for whole in {name.replace(HALVES[0], "") for _, name in pairs if HALVES[0] in name}:
        found.pop(whole, None)
    named.assign(pairs, found)


def variables(model):
    """Pairs a detector's variables with the released names.

    Returns:
        List of (variable, name).
    """
    return torch.of_convs([*_backbone(model), *_rest(model)])


def _backbone(model):
    if isinstance(model.backbone, Hourglass):
        lite = _lite(model)
        return _hourglass(model.backbone, "hg." if lite else "", "hgs" if lite else "kps")
    return _dla(model.backbone) if isinstance(model.backbone, DLA) else torch.resnet(model.backbone)


def _lite(model):
    """Whether it has the names of CornerNet-Lite: on fire modules, or with attention maps."""
    return isinstance(model.backbone.hourglasses[0].beside[0], Fire) or hasattr(model, "attention")


def _rest(model):
    if hasattr(model, "points"):
        names, pool = (LITE, "modules") if _lite(model) else (CORNERNET, "cnvs")
        for point, ours in model.points.items():
            for i, block in enumerate(model.pools[point] if hasattr(model, "pools") else ()):
                yield from corner_pool(block, f"{POINTS[point]}_{pool}.{i}")
            for one in ours:
                yield from _stacked(model.heads[f"{point}_{one}"], f"{POINTS[point]}_{names[one]}")
        for i, heads in enumerate(getattr(model, "attention", ())):
            yield from _stacked(heads, f"att_modules.{i}")
        return
    if model.neck is not None:
        yield from _neck(model.neck)
    for ours, heads in model.heads.items():
        if isinstance(model.backbone, Hourglass):
            yield from _stacked(heads, CENTERNET[ours])
        else:
            yield heads[0].conv, f"{CENTERNET[ours]}.0", None
            yield heads[0].predictor, f"{CENTERNET[ours]}.2", None


def _stacked(heads, name):
    for i, head in enumerate(heads):
        yield head.conv, f"{name}.{i}.0.conv", None
        yield head.predictor, f"{name}.{i}.1", None


def corner_pool(block, name):
    """The layers of a block with corner or center pooling, as `torch.of_convs` takes them, by names after `name`."""
    for i, conv in enumerate(block.before, start=1):
        yield conv, f"{name}.p{i}_conv1.conv", f"{name}.p{i}_conv1.bn"
    if hasattr(block, "look"):  # cascade corner pooling
        for i, (look, join) in enumerate(zip(block.look, block.join, strict=True), start=1):
            yield look, f"{name}.look_conv{i}.conv", f"{name}.look_conv{i}.bn"
            yield join, f"{name}.P{i}_look_conv", None
    yield block.after, f"{name}.p_conv1", f"{name}.p_bn1"
    yield block.shortcut, f"{name}.conv1", f"{name}.bn1"
    yield block.last, f"{name}.conv2.conv", f"{name}.conv2.bn"


def _neck(neck):
    """Convolution, norm and ReLU in turns, counted as one list."""
    step = 6 if neck.deforms else 3
    for i, conv in enumerate(neck.deforms):
        yield conv, f"deconv_layers.{step * i}", f"deconv_layers.{step * i + 1}"
    for i, conv in enumerate(neck.deconvs):
        place = step * (i + 1) - 3
        yield conv, f"deconv_layers.{place}", f"deconv_layers.{place + 1}"


def _hourglass(backbone, prefix, stacks):
    yield backbone.stem, f"{prefix}pre.0.conv", f"{prefix}pre.0.bn"
    for i, block in enumerate(backbone.halvings, start=1):
        yield from residual(block, f"{prefix}pre.{i}")
    for i, level in enumerate(backbone.hourglasses):
        yield from _level(level, f"{prefix}{stacks}.{i}")
    for i, conv in enumerate(backbone.outputs):
        yield conv, f"{prefix}cnvs.{i}.conv", f"{prefix}cnvs.{i}.bn"
    for i, block in enumerate(backbone.merges):
        yield from residual(block, f"{prefix}inters.{i}")
        for name, conv in (("inters_", backbone.inputs_again[i]), ("cnvs_", backbone.outputs_again[i])):
            yield conv, f"{prefix}{name}.{i}.0", f"{prefix}{name}.{i}.1"


def _level(level, name):
    for part, blocks in (("up1", level.beside), ("low1", level.enter), ("low3", level.leave)):
        for i, block in enumerate(blocks):
            yield from residual(block, f"{name}.{part}.{i}")
    if isinstance(level.below[0], Level):
        yield from _level(level.below[0], f"{name}.low2")
    else:
        for i, block in enumerate(level.below):
            yield from residual(block, f"{name}.low2.{i}")
    if level.resize is not None:
        yield level.resize, f"{name}.up2", None


def residual(block, name):
    """The layers of a residual block or a fire module, as `torch.of_convs` takes them, by names after `name`."""
    if isinstance(block, Fire):
        yield block.squeeze, f"{name}.conv1", f"{name}.bn1"
        # One norm over both, whose first half is the first convolution's.
        yield block.pointwise, f"{name}.conv_1x1", f"{name}.bn2{HALVES[0]}"
        yield block.depthwise, f"{name}.conv_3x3", f"{name}.bn2{HALVES[1]}"
        return
    yield block.conv1, f"{name}.conv1", f"{name}.bn1"
    yield block.conv2, f"{name}.conv2", f"{name}.bn2"
    if block.shortcut is not None:
        yield block.shortcut, f"{name}.skip.0", f"{name}.skip.1"


def _dla(backbone):
    yield backbone.stem, "base.base_layer.0", "base.base_layer.1"
    for i, conv in enumerate(backbone.early):
        yield conv, f"base.level{i}.0", f"base.level{i}.1"
    for i, tree in enumerate(backbone.trees, start=2):
        yield from _tree(tree, f"base.level{i}")
    for i, up in enumerate(backbone.ups):
        yield from _up(up, f"dla_up.ida_{i}")
    yield from _up(backbone.last, "ida_up")


def _tree(tree, name):
    for part, inner in (("tree1", tree.first), ("tree2", tree.second)):
        if isinstance(inner, Tree):
            yield from _tree(inner, f"{name}.{part}")
        else:
            yield inner.conv1, f"{name}.{part}.conv1", f"{name}.{part}.bn1"
            yield inner.conv2, f"{name}.{part}.conv2", f"{name}.{part}.bn2"
    if not isinstance(tree.first, Tree):
        yield tree.root, f"{name}.root.conv", f"{name}.root.bn"
    if tree.project is not None:
        yield tree.project, f"{name}.project.0", f"{name}.project.1"


def _up(up, name):
    for i, (projection, node, resizer) in enumerate(zip(up.projections, up.nodes, up.resizers, strict=True), start=1):
        yield projection, f"{name}.proj_{i}.conv", f"{name}.proj_{i}.actf.0"
        yield node, f"{name}.node_{i}.conv", f"{name}.node_{i}.actf.0"
        yield resizer, f"{name}.up_{i}", None
