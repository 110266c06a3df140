"""RefineDet on VGG16: the tensors of its PyTorch ports by name."""

import numpy as np

from kerasdet.weights import tensors as named


def load(model, tensors):
    """Copies a port's tensors into a RefineDet on VGG16; the release and its ports see BGR.

    Args:
        model: a `RefineDet` with its own arguments.
        tensors: dict of name to array, in torch's layouts.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it.
    """
    turned = {
        name: np.transpose(value, (2, 3, 1, 0)) if np.ndim(value) == 4 else value for name, value in tensors.items()
    }
    if np.ndim(turned.get("vgg.0.weight")) == 4:
        turned["vgg.0.weight"] = turned["vgg.0.weight"][:, :, ::-1]
    named.assign(variables(model), turned)


def variables(model):
    """Pairs a RefineDet's variables with the names of its ports.

    Returns:
        List of (variable, name).
    """
    pairs = [(norm.scale, f"conv{4 + i}_3_L2Norm.weight") for i, norm in enumerate(model.l2_norms)]
    for layer, name in _layers(model):
        pairs += [(layer.kernel, f"{name}.weight"), (layer.bias, f"{name}.bias")]
    return pairs


def _layers(model):
    place = 0  # of a convolution among convolutions, ReLUs and pools
    for stage in model.backbone.stages:
        for conv in stage:
            yield conv, f"vgg.{place}"
            place += 2
        place += 1
    yield model.backbone.fc6, f"vgg.{place}"
    yield model.backbone.fc7, f"vgg.{place + 2}"
    for i, conv in enumerate(conv for extra in model.extras for conv in extra.convs):
        yield conv, f"extras.{i}"
    for head, name in (
        (model.anchor_box_head, "arm_loc"),
        (model.anchor_class_head, "arm_conf"),
        (model.box_head, "odm_loc"),
        (model.class_head, "odm_conf"),
    ):
        for i, predictor in enumerate(head.predictors):
            yield predictor, f"{name}.{i}"
    for i, transfer in enumerate(model.transfers):
        yield transfer.convs[0], f"tcb0.{3 * i}"
        yield transfer.convs[1], f"tcb0.{3 * i + 2}"
        if transfer.up is not None:
            yield transfer.up, f"tcb1.{i}"
        yield transfer.last, f"tcb2.{3 * i + 1}"
