"""The metadata of TFLite files: the description and labels that MediaPipe reads, and files appended to the model."""

import io
import zipfile

import flatbuffers
import numpy as np

LABELS, FACTS = "labels.txt", "model.json"

# Numbers from TFLite's metadata_schema.fbs. A table is written as a dict from a field's slot to its value; a member of
# a union as its type and, in the next slot, its table.
_RGB, _IMAGE, _BOX = 1, 2, 3
_VALUE_LABELS, _BOUNDARIES = 3, 1
_FEATURE = {0: 1, 1: {}}


_GROUP = {"detection_boxes": "location", "detection_classes": "category", "detection_scores": "score"}


def detections(classes, outputs, size):
    """The metadata of a detector for MediaPipe's `ObjectDetector`, if the file includes suppression.

    Args:
        classes: class names.
        outputs: names of the outputs, in order.
        size: (height, width) of the input, or None for any.

    Returns:
        bytes of a `ModelMetadata` buffer.
    """
    image = {0: _RGB} if size is None else {0: _RGB, 1: {0: np.uint32(size[1]), 1: np.uint32(size[0])}}
    inputs = [{0: "image", 1: "RGB pixels 0...255.", 3: {0: _IMAGE, 1: image}}]
    labels = {0: LABELS, 1: "Names of the classes, line by line.", 2: _VALUE_LABELS}
    box = {0: [1, 0, 3, 2], 1: _BOUNDARIES}
    known = {
        "detection_boxes": {0: "location", 1: "y1 x1 y2 x2 in parts of the picture.", 3: {0: _BOX, 1: box}},
        "detection_classes": {0: "category", 1: "Numbers of the classes.", 3: _FEATURE, 6: [labels]},
        "detection_scores": {0: "score", 1: "Scores, falling.", 3: _FEATURE},
        "num_detections": {0: "number of detections", 1: "How many of the detections are real.", 3: _FEATURE},
    }
    described = [known.get(name, {0: name, 3: _FEATURE}) for name in outputs]
    group = [{0: "detection_result", 1: list(_GROUP.values())}] if set(_GROUP) <= set(outputs) else []
    graph = {2: inputs, 3: described, **({8: group} if group else {})}
    return _buffer({0: "detector", 1: "Classes: " + ", ".join(classes), 3: [graph], 7: "1.2.0"})


def schema():
    """The module of TFLite's file format, `schema_py_generated`.

    Raises:
        ValueError: it is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise ValueError("TFLite files need ai-edge-litert: pip install kerasdet[tflite].") from None
    return schema_py_generated


def operators(content):
    """The operators of a TFLite model and their kinds, in order.

    Args:
        content: bytes of the model.

    Returns:
        For each graph of the file, a list of (kind, operator), where the kind is the name of a builtin or "CUSTOM
        name"; and the parsed `ModelT`.
    """
    parsed = schema().ModelT.InitFromPackedBuf(content, 0)
    kinds = {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}

    def kind(operator):
        code = parsed.operatorCodes[operator.opcodeIndex]
        name = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        return f"CUSTOM {code.customCode.decode()}" if name == "CUSTOM" else name

    return [[(kind(operator), operator) for operator in graph.operators] for graph in parsed.subgraphs], parsed


def packed(parsed):
    """The bytes of a parsed TFLite model."""
    builder = flatbuffers.Builder(0)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_files(model, files):
    """Appends text files to a TFLite model, under the names in its metadata.

    Args:
        model: bytes of the model.
        files: dict of name to text.

    Returns:
        bytes.
    """
    whole = io.BytesIO(model)
    with zipfile.ZipFile(whole, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return whole.getvalue()


def read_file(path, name):
    """A text file that `with_files` appended, or None."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name).decode()
    except (zipfile.BadZipFile, KeyError):
        return None


def _buffer(table):
    builder = flatbuffers.Builder(0)
    builder.Finish(_packed(builder, table), b"M001")
    return bytes(builder.Output())


def _packed(builder, value):
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        numbers = isinstance(value[0], int)
        parts = value if numbers else [_packed(builder, part) for part in value]
        builder.StartVector(4, len(parts), 4)
        for part in reversed(parts):
            builder.PrependUint32(part) if numbers else builder.PrependUOffsetTRelative(part)
        return builder.EndVector()
    parts = {place: _packed(builder, p) if isinstance(p, (str, list, dict)) else p for place, p in value.items()}
    builder.StartObject(max(parts, default=-1) + 1)
    for place, part in parts.items():
        kind = type(value[place])
        if kind is int:
            builder.PrependUint8Slot(place, part, 0)
        elif kind is np.uint32:
            builder.PrependUint32Slot(place, int(part), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(place, part, 0)
    return builder.EndObject()
