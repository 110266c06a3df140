"""SSD on MobileNetV1 of TensorFlow's Object Detection API, trained on COCO, from a quantized `.tflite` file."""

import re

import numpy as np
import tensorflow as tf

from kerasdet.weights.plain import PlainDetector

# COCO's categories by their ids 1...90; ids without a name have no class.
COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, , stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, , backpack, umbrella, , "
    ", handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, , wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, , dining table, , , toilet, , tv, "
    "laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, , book, clock, vase, "
    "scissors, teddy bear, hair drier, toothbrush"
).split(", ")

# What all its SSDs on MobileNets have. Pictures are squeezed with antialias: 300 pixels of a photo are few.
FORM = {
    "norm": "frozen",
    "levels": (4, 5),
    "l2_norm": None,
    "activation": "relu6",
    "scales": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    "ratios": ((2,), *((2, 3),) * 5),
    "steps": None,
    "tensorflow_boxes": 0.1,
    "scores": "sigmoid",
    "per_class": None,
    "suppression": 0.6,
    "limit": 100,
    "resize": ("squeeze", 300, 300),
}

# The quantized release's default boxes are on the grid of its eight bits.
_GRID = 0.006453060545027256

# Of the norms of keras.applications' MobileNet.
_EPSILON = 1e-3


def x_first(values):
    """The last axis from ty, tx, th, tw of every box to dx, dy, dw, dh."""
    return values.reshape(*values.shape[:-1], -1, 4)[..., [1, 0, 3, 2]].reshape(values.shape)


def ssd_mobilenet_v1(path):
    """Reads a released file; its classes are COCO's 80.

    The release's norms are folded into its biases: here they become norms that shift only.

    Args:
        path: a `.tflite` file, or its tensors packed as `.npz`: "layer/kernel" [H, W, in, out] or
            "layer/depthwise_kernel" [H, W, C, 1], whole numbers beside "…_scale", and "layer/bias".

    Returns:
        A `PlainDetector`, an SSD.
    """
    tensors = _of_tflite(path) if str(path).endswith(".tflite") else _of_npz(path)
    alpha = tensors.get("MobilenetV1/Conv2d_0/bias", np.zeros(32)).size / 32
    arguments = {
        **FORM,
        "backbone": {"name": "mobilenet_v1", "alpha": alpha},
        "extras": tuple((round(alpha * channels), 3, 2, "same") for channels in (512, 256, 256, 128)),
        "extra_norm": None,
        "head_size": 1,
        "box_grid": _GRID,
    }
    ours = dict(pair for name, value in tensors.items() for pair in _ours(name, value))
    return PlainDetector("SSD", arguments, [name for name in COCO if name], ours, str(path))


def _ours(name, value):
    """A tensor of the release by our name, in our layout; one that is unknown as it is. Yields (name, array)."""
    place, _, kind = name.rpartition("/")
    if match := re.fullmatch(r"MobilenetV1/Conv2d_(\d+)(?:_([dp])\w+wise)?", place):
        layer = "backbone/network/" + (f"conv_{match[2]}w_{match[1]}" if match[2] else "conv1")
        if kind == "kernel":
            yield f"{layer}/kernel", value
        else:
            ones = np.ones_like(value)
            yield f"{layer}_bn/gamma", ones
            yield f"{layer}_bn/beta", value
            yield f"{layer}_bn/moving_mean", 0 * ones
            yield f"{layer}_bn/moving_variance", (1 - _EPSILON) * ones
    elif match := re.fullmatch(r"Conv2d_13_pointwise_(\d)_Conv2d_(\d)_\w+", place):
        yield f"extras/{int(match[2]) - 2}/convs/{int(match[1]) - 1}/{kind}", value
    elif match := re.fullmatch(r"BoxPredictor_(\d)/(Class|BoxEncoding)Predictor", place):
        if match[2] == "Class":
            kept = [0] + [i for i, one in enumerate(COCO, 1) if one]
            value = value.reshape(*value.shape[:-1], -1, len(COCO) + 1)[..., kept]
            yield f"class_head/predictors/{match[1]}/{kind}", value.reshape(*value.shape[:-2], -1)
        else:
            yield f"box_head/predictors/{match[1]}/{kind}", x_first(value)
    else:
        yield name, value


def _of_npz(path):
    with np.load(path, allow_pickle=False) as packed:
        found = {}
        for name in packed.files:
            if not name.endswith("_scale") and not name.startswith("anchors/"):
                value = packed[name] * packed[f"{name}_scale"] if f"{name}_scale" in packed.files else packed[name]
                found[name.replace("/depthwise_kernel", "/kernel")] = np.float32(value)
        return found


def _of_tflite(path):
    interpreter = tf.lite.Interpreter(str(path))
    found = {}
    for detail in interpreter.get_tensor_details():
        match = re.fullmatch(r"(?:FeatureExtractor/MobilenetV1/)?(.*)/(weights_quant/.*|\w+_bias)", detail["name"])
        if match:
            scale, zero = detail["quantization"]
            value = (interpreter.get_tensor(detail["index"]).astype(np.float64) - zero) * scale
            kind = "bias" if value.ndim == 1 else "kernel"
            value = value if value.ndim == 1 else value.transpose(1, 2, 3, 0)
            found[f"{match[1]}/{kind}"] = np.float32(value)
    return found
