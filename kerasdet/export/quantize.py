"""Eight bits: the layers are quantized; pixels, decoding and suppression stay in float32.

Boxes and scores have no range in common with anything else, so one scale for eight bits of them would cost most of what
quantization costs.
"""

import csv
import io
import math
import re

import tensorflow as tf

from kerasdet.export import metadata

# Operators that only arrange numbers: between the heads and the decoding they stay float, so that every level of a
# pyramid keeps a scale of its own.
_ARRANGE = ("RESHAPE", "CONCATENATION", "TRANSPOSE")


def int8(converter, model, examples):
    """Quantizes a detector's layers.

    Args:
        converter: a `tf.lite.TFLiteConverter` of its graph, which converts once.
        model: the `Detector`.
        examples: iterable of lists of inputs: pixels [1, H, W, 3] uint8, and proposals where they are needed.

    Returns:
        bytes of the TFLite model.
    """
    return _debugger(converter, model, list(examples)).get_nondebug_quantized_model()


def blame(converter, model, examples, count=10):
    """Finds the layers that quantization harms most.

    Args:
        converter, model, examples: as in `int8`.
        count: of layers.

    Returns:
        List of (name, error), worst first: the root of the mean squared error of the layer's output, in steps of its
        scale. Rounding alone costs 0.29.
    """
    debugger = _debugger(converter, model, list(examples))
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    rows = csv.DictReader(io.StringIO(table.getvalue()))
    errors = [(r["tensor_name"], math.sqrt(float(r["mean_squared_error"])) / float(r["scale"])) for r in rows]
    return sorted(errors, key=lambda pair: -pair[1])[:count]


def _debugger(converter, model, examples):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter(examples)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset
    )
    layers = {layer.name for layer in model.layers} - {model.pixels.name}
    nodes, kinds = float_nodes(debugger.calibrated_model, layers)
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=nodes, denylisted_ops=kinds)
    return debugger


def float_nodes(content, layers):
    """The nodes that stay float: those outside of the layers, and what only arranges numbers for them.

    Args:
        content: bytes of the model before quantization.
        layers: names of the layers to quantize.

    Returns:
        Names of nodes, and kinds of operators: the quantizer knows those with several outputs by their kind only.
    """
    (graph, *_), parsed = metadata.operators(content)
    tensors = parsed.subgraphs[0].tensors
    stems = {_stem(layer) for layer in layers}
    wanted_in_8_bits, kept = set(), []
    for kind, operator in reversed(graph):
        names = [tensors[index].name.decode() for index in operator.outputs]
        outside = _stem(names[0].split("/")[0]) not in stems
        arranges = kind in _ARRANGE and not wanted_in_8_bits.intersection(operator.outputs)
        if outside or arranges:
            kept.append(names[0])
        else:
            wanted_in_8_bits.update(operator.inputs)
    return kept, sorted({kind for kind, operator in graph if len(operator.outputs) > 1})


def _stem(name):
    """A layer's name without the numbers that tell layers of one kind apart."""
    return re.sub(r"(_\d+)*$", "", name)
