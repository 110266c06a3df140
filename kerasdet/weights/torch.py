"""What all files of torch share: its layout of kernels, and its names of the parts of a convolution and of a ResNet."""

import numpy as np


def layout(value):
    """An array in our layout: kernels of convolutions, transposed ones too, from [out, in, rows, columns]."""
    return np.transpose(value, (2, 3, 1, 0)) if np.ndim(value) == 4 else value


def of_convs(layers):
    """Pairs of variables and names.

    Args:
        layers: tuples of a `Conv`, a `DeformConv` or another layer with a kernel, its name and that of its norm.

    Returns:
        List of (variable, name).
    """
    pairs = []
    for conv, name, norm in layers:
        pairs.append((conv.kernel, f"{name}.weight"))
        if getattr(conv, "bias", None) is not None:
            pairs.append((conv.bias, f"{name}.bias"))
        if hasattr(conv, "offset_kernel"):
            offsets = f"{name}.conv_offset_mask"
            pairs += [(conv.offset_kernel, f"{offsets}.weight"), (conv.offset_bias, f"{offsets}.bias")]
        if getattr(conv, "norm", None) is None:
            continue
        pairs += [(conv.norm.gamma, f"{norm}.weight"), (conv.norm.beta, f"{norm}.bias")]
        if hasattr(conv.norm, "moving_mean"):
            pairs += [
                (conv.norm.moving_mean, f"{norm}.running_mean"),
                (conv.norm.moving_variance, f"{norm}.running_var"),
            ]
    return pairs


def resnet(backbone, prefix=""):
    """The layers of a ResNet, as `of_convs` takes them, by torchvision's names after a prefix."""
    yield backbone.stem, f"{prefix}conv1", f"{prefix}bn1"
    for s, stage in enumerate(backbone.stages, start=1):
        yield from blocks(stage, f"{prefix}layer{s}")


def blocks(stage, name):
    """The layers of one stage of a ResNet, as `of_convs` takes them, by torchvision's names after the stage's."""
    for b, block in enumerate(stage):
        for i, conv in enumerate((block.conv1, block.conv2, getattr(block, "conv3", None)), start=1):
            if conv is not None:
                yield conv, f"{name}.{b}.conv{i}", f"{name}.{b}.bn{i}"
        if block.shortcut is not None:
            yield block.shortcut, f"{name}.{b}.downsample.0", f"{name}.{b}.downsample.1"


def resnet_name(tensors, prefix=""):
    """The key of `backbones.BACKBONES` of a ResNet or ResNeXt by the names and shapes of its tensors.

    Args:
        tensors: dict of name to array, in torch's layouts.
        prefix: of torchvision's names.

    Raises:
        ValueError: there is no such network.
    """

    from kerasdet.backbones import resnet as resnets  # TensorFlow takes seconds, and tools name builders before

    def named(stage, block, number):
        return f"{prefix}layer{stage}.{block}.conv{number}.weight"

    counts = []
    for stage in range(1, 5):
        count = 0
        while named(stage, count, 1) in tensors:
            count += 1
        counts.append(count)
    deep = named(1, 0, 3) in tensors
    depths = [depth for depth, blocks in resnets.BLOCKS.items() if blocks == tuple(counts) and (depth >= 50) == deep]
    if not depths:
        raise ValueError(f"a ResNet of {tuple(counts)} blocks")
    inside, entry = tensors[named(1, 0, 2)].shape[:2]
    return f"resnext{depths[0]}_{inside // entry}x{entry}d" if deep and inside != entry else f"resnet{depths[0]}"
