"""Quantization to 8 bits: layers are quantized; pixels, decoding and suppression stay in float32.

Boxes and scores have ranges of their own. Quantizing them with a shared 8-bit scale would cause most of the loss.
"""

import csv
import io
import math
import re

import tensorflow as tf

from kerasdet.export import metadata
from kerasdet.layers import Pixels

# Operators that only rearrange numbers: between the heads and decoding they stay in float, so that every level of a
# pyramid keeps its own scale.
_ARRANGE = ("CONCATENATION", "TRANSPOSE")


def int8(converter, model, examples):
    """Quantizes a detector's layers.

    Args:
        converter: a `tf.lite.TFLiteConverter` of its graph, which converts once.
        model: the `Detector`.
        examples: iterable of lists of inputs: pixels [1, H, W, 3] uint8, and proposals if needed.

    Returns:
        bytes of the TFLite model.
    """
    return _debugger(converter, model, list(examples)).get_nondebug_quantized_model()


def blame(converter, model, examples, count=10):
    """Finds the layers whose output suffers most from quantization.

    Args:
        converter, model, examples: as in `int8`.
        count: number of layers.

    Returns:
        List of (name, error), worst first: the root mean squared error of the layer's output, in steps of its scale.
        Rounding alone gives 0.29.
    """
    debugger = _debugger(converter, model, list(examples))
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    errors = []
    for row in csv.DictReader(io.StringIO(table.getvalue())):
        error = math.sqrt(float(row["mean_squared_error"])) / float(row["scale"])
        errors.append((row["tensor_name"].split(";")[0], error))
    return sorted(errors, key=lambda pair: -pair[1])[:count]


def _debugger(converter, model, examples):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter(examples)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset
    )
    layers = {layer.name for layer in model.layers if not isinstance(layer, Pixels)}
    (graph, *_), parsed = metadata.operators(debugger.calibrated_model)
    tensors = parsed.subgraphs[0].tensors
    inside = in_layers(graph, tensors, layers)
    _forget_ranges(tensors, {index for _, operator in inside for index in (*operator.inputs, *operator.outputs)})
    debugger.calibrated_model = metadata.packed(parsed)
    names, quantized = ([_name(tensors, operator) for _, operator in some] for some in (graph, inside))
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=[name for name in names if name not in quantized],
        # Operators with several outputs cannot be listed by name.
        denylisted_ops=sorted({kind for kind, operator in graph if len(operator.outputs) > 1}),
    )
    return debugger


def in_layers(graph, tensors, layers):
    """The operators to quantize: those of layers, except those after them that only rearrange numbers.

    Args:
        graph: operators from `metadata.operators`.
        tensors: tensors of the graph.
        layers: names of the layers to quantize.

    Returns:
        Operators of the graph.
    """
    stems, inside, needed = {_stem(layer) for layer in layers}, [], set()
    for kind, operator in reversed(graph):
        arranges = kind in _ARRANGE and not needed.intersection(operator.outputs)
        if _stem(_name(tensors, operator).split("/")[0]) in stems and not arranges:
            inside.append((kind, operator))
            needed.update(operator.inputs)
    return inside


def _forget_ranges(tensors, kept):
    """Removes the measured range of all other tensors, because the quantizer rounds every tensor that has one."""
    for index, tensor in enumerate(tensors):
        if index not in kept:
            tensor.quantization = None


def _name(tensors, operator):
    """The quantizer's name for an operator."""
    return tensors[operator.outputs[0]].name.decode()


def _stem(name):
    """A layer's name without the numbers that distinguish layers of one kind."""
    return re.sub(r"(_\d+)*$", "", name)
