"""TFLite files with only builtin operators, suppression included, which phones run without an extra library.

A file takes `images` [1, H, W, 3] uint8, RGB. They may have any size, which the file resizes as the detector does, or a
fixed size, which the network then sees directly; the delegates on phones need the latter. Outputs are named as in
`answers.named`.
"""

import functools
import os
import pathlib
import re

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerasdet import images as image
from kerasdet import ops
from kerasdet.export import KINDS, answers, metadata, quantize
from kerasdet.layers import Pixels

# What to write instead of operators that TFLite lacks.
CURES = {
    "StridedSlice": "write x[..., None] as tf.expand_dims(x, -1), and other slices with tf.reshape or tf.gather",
    "ReluGrad": "under a tape, take ops.relu",
    "CombinedNonMaxSuppression": "take decoding.suppress",
}

SIGNATURE = "serving_default"
INPUTS = ("images", "proposals")


def write(model, file, kind="float32", size=None, raw=False, examples=(), proposals=300, judge=None):
    """Writes a TFLite file.

    Args:
        model: a `Detector`.
        file: path of the file.
        kind: "float32"; "float16" halves the weights; "dynamic" has 8-bit weights; "int8" computes in 8 bits, but
            decodes and suppresses in float32.
        size: (height, width) of the input, pixels; None for any.
        raw: output `Detector.raw` instead of detections, for an application that decodes itself.
        examples: for "int8", typical pictures to measure the ranges of activations: arrays [H, W, 3] uint8, or pairs
            of such an array and proposals [R, 4] if the detector needs them.
        proposals: R, the number of proposals per picture, for a detector that needs them; fewer are padded with boxes
            without area.
        judge: None, or a function of the path of a draft that raises to refuse it; an existing file is then kept.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: the kind is unknown, the size is invalid or not the network's, "int8" has no examples, or the
            detector a loop.
    """
    examples = list(examples)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
    if kind == "int8" and not examples:
        raise ValueError("kind='int8' measures the ranges of activations on examples: give typical pictures.")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size must be height and width in pixels, got {tuple(size)}.")
    if size is not None and model.fixed and tuple(size) != tuple(model.resize[1:]):
        raise ValueError(f"{type(model).__name__} takes images of {model.resize[1:]} alone, got size {tuple(size)}.")
    graph, outputs = traced(model, size, raw, proposals)
    loops = [one.name for one in graph.graph.get_operations() if one.type == "LoopCond"]
    if kind == "int8" and loops:
        # The calibrator of TensorFlow 2.21 crashes in them.
        raise ValueError(
            f"kind='int8' is not possible: {type(model).__name__} has a loop ({loops[0]}); take 'dynamic'."
        )
    if kind == "int8":
        content = quantize.int8(converter(graph), model, fitted(model, examples, size, proposals))
    else:
        content = _converted(converter(graph, kind), model)
    path = pathlib.Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"writing-{path.name}")
    try:
        draft.write_bytes(_labeled(content, model, outputs, size))
        if judge is not None:
            judge(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def examples(model, dataset, count):
    """Pictures for `write` and for `report.differences`, spread evenly over a data set.

    Args:
        model: a `Detector`.
        dataset: a `kerasdet.data.dataset.Dataset`.
        count: maximum number of pictures.

    Returns:
        List of arrays [H, W, 3] uint8, or of pairs of one and proposals [R, 4] if the detector needs them.
    """
    rows = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    records = [dataset.records[row] for row in rows]
    return [(one.pixels(), one.proposals) if model.needs_proposals else one.pixels() for one in records]


def rule(model, size):
    """The resize rule from a picture to the input of a file of fixed size."""
    fits = model.resize[0] in image.ONE_SIZE and tuple(model.resize[1:]) == tuple(size)
    return model.resize if fits else ("stretch", *size)


def margin(model):
    """The color around a letterboxed picture, RGB 0...255: the one that the model paints outside its windows."""
    return np.round(pixels_layer(model).color[0]).tolist()


def pixels_layer(model):
    """The `layers.Pixels` of a detector.

    Raises:
        ValueError: it has none.
    """
    found = [layer for layer in model.layers if isinstance(layer, Pixels)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no layers.Pixels, which knows the color around a picture.")
    return found[0]


def fitted(model, examples, size, count=300):
    """Converts examples to the inputs of a file.

    Args:
        model: a `Detector`.
        examples: as in `write`.
        size: (height, width) of the file's input; None for any.
        count: number of proposals.

    Yields:
        Lists of pixels [1, H, W, 3] uint8 and, for a pair, proposals [1, R, 4] float32.
    """
    for example in examples:
        pixels, *proposals = example if isinstance(example, tuple) else (example,)
        if size is not None:
            canvas, frames, _ = answers.fitted(pixels[None], rule(model, size), margin(model))
            pixels = canvas[0]
            proposals = [image.to_frames(boxes, frames[0]) for boxes in proposals]
        yield [pixels[None], *(answers.padded(np.float32(boxes)[None], count) for boxes in proposals)]


def traced(model, size=None, raw=False, proposals=300):
    """The graph of a file, with weights as constants.

    Args:
        model, size, raw, proposals: as in `write`.

    Returns:
        A concrete function of the pixels, and the names of its outputs in order.
    """
    if model.dtype_policy.compute_dtype != "float32":  # TFLite has no operators for half precision
        model = model.with_dtype("float32")

    def detect(images, *given):
        preprocess = model.preprocess
        if size is not None:
            preprocess = functools.partial(image.preprocess, rule=("keep",), multiple=model.multiple)
        if not raw:
            return answers.to_pixels(functools.partial(answers.to_images, model), preprocess, images, *given)
        seen = {**preprocess(images), "ids": tf.zeros([1], tf.int64)}
        moved = [image.to_frames(boxes, seen["frames"]) for boxes in given]
        return model.raw(model.network({**seen, **dict(zip(INPUTS[1:], moved, strict=False))}))

    specs = [tf.TensorSpec([1, *(size or (None, None)), 3], tf.uint8, "images")]
    if model.needs_proposals:
        specs.append(tf.TensorSpec([1, proposals, 4], tf.float32, "proposals"))
    with ops.portable(lite=True):
        function = tf.function(detect, input_signature=specs, autograph=False).get_concrete_function()
    # A model converted with its variables would silently turn to NaN.
    return convert_variables_to_constants_v2(function), sorted(function.structured_outputs)


def converter(graph, kind="float32"):
    """A `tf.lite.TFLiteConverter` that refuses operators other than builtins.

    Args:
        graph: graph from `traced`.
        kind: one of `KINDS`; "int8" still needs its examples.
    """
    made = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind != "float32":
        made.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        made.target_spec.supported_types = [tf.float16]
    return made


def _converted(converter, model):
    """The bytes of a file; where the converter has no builtin operator, one line instead of its listing."""
    try:
        return converter.convert()
    except Exception as error:  # of an internal class
        faults = [fault for fault in getattr(error, "errors", ()) if fault.operator.name]
        if not faults:
            raise
        places = [part for call in faults[0].location.call for part in call.name.split("/")]
        stems = {re.sub(r"_\d+$", "", place) for place in places}  # TensorFlow numbers the calls of a layer
        layer = next((f", in the layer '{one.name}'" for one in model.layers if one.name in stems | {*places}), "")
        name = faults[0].operator.name.removeprefix("tf.")
        cure = CURES.get(name, "write it with operators that TFLite has, or where sizes are known")
        raise ValueError(
            f"{type(model).__name__}: TFLite has no builtin for {name}{layer}: {cure}. See 'What TFLite "
            "takes' in docs/add-a-detector.md."
        ) from None


def _labeled(content, model, outputs, size):
    """Adds names, a signature, metadata and labels to the file."""
    schema = metadata.schema()
    parsed = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = parsed.subgraphs[0]
    named = [
        list(zip(("images", "proposals"), graph.inputs, strict=False)),
        list(zip(outputs, graph.outputs, strict=True)),
    ]
    for name, index in sum(named, []):
        graph.tensors[index].name = name
    inputs, results = ([schema.TensorMapT(*pair) for pair in pairs] for pairs in named)
    parsed.signatureDefs = [schema.SignatureDefT(inputs, results, SIGNATURE)]
    parsed.buffers.append(schema.BufferT(np.frombuffer(metadata.detections(model.classes, outputs, size), np.uint8)))
    parsed.metadata = [*(parsed.metadata or []), schema.MetadataT("TFLITE_METADATA", len(parsed.buffers) - 1)]
    changes = {} if size is None else {"size": size, "resize": rule(model, size), "margin": margin(model)}
    files = {metadata.LABELS: "\n".join(model.classes) + "\n", metadata.FACTS: answers.facts(model, **changes)}
    return metadata.with_files(metadata.packed(parsed), files)
