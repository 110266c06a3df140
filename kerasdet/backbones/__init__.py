"""Backbones: layers that turn normalized pixels into a list of feature maps, level l with stride 2**l."""

from functools import partial

from kerasdet.backbones import hourglass
from kerasdet.backbones.caffenet import CaffeNet
from kerasdet.backbones.darknet import Darknet
from kerasdet.backbones.dla import DLA
from kerasdet.backbones.efficientnet import LITE_SCALES, SCALES, EfficientNet
from kerasdet.backbones.hourglass import Hourglass
from kerasdet.backbones.mobilenet import MobileNet
from kerasdet.backbones.mobilenet_v3 import MobileNetV3
from kerasdet.backbones.resnet import ResNet, Stage
from kerasdet.backbones.vgg import VGG
from kerasdet.backbones.zf import ZF

# Keras' own ResNets stride in the first 1x1, use their own epsilon and subtract Caffe's means.
KERAS_RESNET = {"stride_in": "1x1", "epsilon": 1.001e-5, "normalization": "caffe"}

BACKBONES = {
    "resnet10": partial(ResNet, 10),
    "resnet18": partial(ResNet, 18),
    "resnet34": partial(ResNet, 34),
    "resnet50": partial(ResNet, 50),
    "resnet101": partial(ResNet, 101),
    "resnet152": partial(ResNet, 152),
    "resnet50_keras": partial(ResNet, 50, **KERAS_RESNET),
    "resnet101_keras": partial(ResNet, 101, **KERAS_RESNET),
    "resnet152_keras": partial(ResNet, 152, **KERAS_RESNET),
    "resnext50_32x4d": partial(ResNet, 50, groups=32, group_width=4),
    "resnext101_32x8d": partial(ResNet, 101, groups=32, group_width=8),
    "resnext101_64x4d": partial(ResNet, 101, groups=64, group_width=4),
    "mobilenet_v1": partial(MobileNet, 1),
    "mobilenet_v2": partial(MobileNet, 2),
    "mobilenet_v3_large": MobileNetV3,
    "mobilenet_v3_large_reduced": partial(MobileNetV3, reduced=True),
    **{f"efficientnet_b{i}": partial(EfficientNet, i) for i in range(len(SCALES))},
    **{f"efficientnet_lite{i}": partial(EfficientNet, i, lite=True) for i in range(len(LITE_SCALES))},
    "darknet19": partial(Darknet, "darknet19"),
    "darknet53": partial(Darknet, "darknet53"),
    "darknet_tiny": partial(Darknet, "darknet_tiny"),
    "vgg16": partial(VGG, 16),
    "vgg16_atrous": partial(VGG, 16, atrous=True),
    "vgg16_atrous_strided": partial(VGG, 16, atrous=True, strided=True),
    "caffenet": CaffeNet,
    "zf": ZF,
    "dla34": DLA,
    "hourglass104": Hourglass,
    "hourglass52": partial(Hourglass, **hourglass.HOURGLASS_52),
    "hourglass54": partial(Hourglass, **hourglass.HOURGLASS_54),
    "hourglass_squeeze": partial(Hourglass, **hourglass.SQUEEZE),
}


# Endings of files of ImageNet's classifiers by other frameworks' names.
FILES = (".pth", ".pt", ".pkl", ".safetensors")


def build(backbone, levels, **options):
    """Makes a backbone.

    Args:
        backbone: a key of `BACKBONES`, or a dict of such a `name` and further arguments of its class.
        levels: first and last level to return.
        options: further arguments of its class. Of `weights` in one of `FILES` only the path is kept, as the layer's
            `awaited`: the detector that the backbone is of loads it, see `kerasdet.weights.imagenet`.

    Returns:
        A layer with `normalization`, a key of `layers.pixels.STATISTICS`, and `strides` and `channels`, tuples of one
        number per map that it returns.

    Raises:
        ValueError: the name is unknown.
    """
    name, options = _named(backbone, options)
    options, awaited = _awaited(options)
    layer = BACKBONES[name](levels=levels, **options)
    layer.awaited = awaited
    return layer


def stage(backbone, number=5, **options):
    """Makes a single stage of a ResNet or ResNeXt, which C4 heads run on regions.

    After a backbone with `levels=(number - 1, number - 1)`, it completes the network up to this stage.

    Args:
        backbone: as in `build`; arguments of the network as a whole (`freeze`, `normalization`) are ignored.
        number: 2...5, of conv2_x...conv5_x.
        options: further arguments of `resnet.Stage`, such as `stride` and `norm`.

    Returns:
        A `resnet.Stage`.

    Raises:
        ValueError: the name is unknown or not that of a ResNet.
    """
    name, options = _named(backbone, options)
    make = BACKBONES[name]
    if not isinstance(make, partial) or make.func is not ResNet:
        raise ValueError(f"a stage is taken from a ResNet or ResNeXt, got backbone {name!r}.")
    options, awaited = _awaited({**make.keywords, **options})
    layer = Stage(*make.args, number, **{k: v for k, v in options.items() if k not in ("freeze", "normalization")})
    layer.awaited = awaited
    return layer


def _awaited(options):
    """The arguments without `weights` that another framework wrote, and these."""
    if not str(options.get("weights")).endswith(FILES):
        return options, None
    return {**options, "weights": None}, options["weights"]


def _named(backbone, options):
    """The name of a backbone, and its arguments."""
    name, own = (backbone, {}) if isinstance(backbone, str) else (backbone.get("name"), dict(backbone))
    own.pop("name", None)
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {sorted(BACKBONES)}, got {name!r}.")
    return name, {**options, **own}
