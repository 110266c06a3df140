"""SSD on MobileNetV1 of TensorFlow's Object Detection API, trained on COCO, from a quantized `.tflite` file."""

import re

import numpy as np
import tensorflow as tf

from kerasdet.detectors.ssd import SSD, mobilenet_v1
from kerasdet.weights import tensors as named

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

# The release's default boxes are on the grid of its eight bits.
_GRID = 0.006453060545027256


def ssd_mobilenet_v1(path, **options):
    """Makes the detector of a released file; its classes are COCO's 80.

    The release's norms are folded into its biases: here they become norms that shift only. Pictures are squeezed with
    antialias: 300 pixels of a photo are few.

    Args:
        path: a `.tflite` file, or its tensors packed as `.npz`: "layer/kernel" [H, W, in, out] or
            "layer/depthwise_kernel" [H, W, C, 1], whole numbers beside "…_scale", and "layer/bias".
        options: further arguments of `SSD`.

    Returns:
        An `SSD`.

    Raises:
        ValueError: the file holds another network; the line names the tensor.
    """
    tensors = _of_tflite(path) if str(path).endswith(".tflite") else _of_npz(path)
    ids = [0] + [i for i, name in enumerate(COCO, start=1) if name]
    for name in [name for name in tensors if name.split("/")[0].startswith("BoxPredictor")]:
        value = tensors[name]
        if "/ClassPredictor/" in name:
            value = value.reshape(*value.shape[:-1], -1, len(COCO) + 1)[..., ids]
        else:
            value = value.reshape(*value.shape[:-1], -1, 4)[..., [1, 0, 3, 2]]  # y, x, h, w to x, y, w, h
        tensors[name] = value.reshape(*value.shape[:-2], -1)
    alpha = tensors.get("MobilenetV1/Conv2d_0/bias", np.zeros(32)).size / 32
    arguments = {**mobilenet_v1(alpha), "extra_norm": None, "resize": ("squeeze", 300, 300), "box_grid": _GRID}
    model = SSD([name for name in COCO if name], **{**arguments, **options})
    named.assign(list(_variables(model)), tensors, path)
    return model


def _variables(model):
    """(variable, name) of everything that the release holds; norms are set to shift only."""
    network = model.backbone.network
    yield from _folded(network, "conv1", "MobilenetV1/Conv2d_0")
    for i in range(1, 14):
        yield from _folded(network, f"conv_dw_{i}", f"MobilenetV1/Conv2d_{i}_depthwise")
        yield from _folded(network, f"conv_pw_{i}", f"MobilenetV1/Conv2d_{i}_pointwise")
    for i, extra in enumerate(model.extras, start=2):
        for j, conv in enumerate(extra.convs, start=1):
            kind = "1x1" if j == 1 else "3x3_s2"
            name = f"Conv2d_13_pointwise_{j}_Conv2d_{i}_{kind}_{conv.filters}"
            yield from ((conv.kernel, f"{name}/kernel"), (conv.bias, f"{name}/bias"))
    for head, part in ((model.class_head, "ClassPredictor"), (model.box_head, "BoxEncodingPredictor")):
        for i, conv in enumerate(head.predictors):
            name = f"BoxPredictor_{i}/{part}"
            yield from ((conv.kernel, f"{name}/kernel"), (conv.bias, f"{name}/bias"))


def _folded(network, layer, name):
    norm = network.get_layer(f"{layer}_bn")
    norm.gamma.assign(tf.ones_like(norm.gamma))
    norm.moving_mean.assign(tf.zeros_like(norm.moving_mean))
    norm.moving_variance.assign(tf.fill(norm.moving_variance.shape, 1.0 - norm.epsilon))
    yield network.get_layer(layer).weights[0], f"{name}/kernel"
    yield norm.beta, f"{name}/bias"


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
