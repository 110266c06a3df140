"""What an exported file holds and how far it lies from Keras."""

import pathlib

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from kerasdet.export import metadata

# Overlap from which on two boxes of a class are taken for the same detection.
SAME = 0.5


def operators(path):
    """Kinds of the operators in a file.

    Args:
        path: a TFLite file, or the folder of a SavedModel.

    Returns:
        Dict of name to count, most frequent first; those of a TFLite file that are no builtins begin with "CUSTOM".
    """
    path = pathlib.Path(path)
    if path.suffix == ".tflite":
        graphs, _ = metadata.operators(path.read_bytes())
        kinds = [kind for graph in graphs for kind, _ in graph]
    else:
        content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        graph = content.meta_graphs[0].graph_def
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        kinds = [node.op for node in nodes]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds), key=kinds.count, reverse=True)}


def size(path):
    """Bytes of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def differences(model, exported, examples, above=0.0):
    """Compares detections picture by picture.

    Args:
        model: a `Detector`.
        exported: what `load` opened.
        examples: paths or arrays [H, W, 3] uint8, or pairs of one and proposals [R, 4].
        above: least score of the detector's detections to look for.

    Returns:
        Dict of `pictures` and `detections`, how many; `missing`, those of which the file has none of the class that
        overlaps it by half; of the others the largest differences, `box` of a corner in pixels and `score`.
    """
    numbers = {"pictures": 0, "detections": 0, "missing": 0, "box": 0.0, "score": 0.0}
    for example in examples:
        picture, *proposals = example if isinstance(example, tuple) else (example,)
        wanted, found = (
            one.detect(picture, least, None, *proposals) for one, least in ((model, above), (exported, 0.0))
        )
        numbers["pictures"] += 1
        numbers["detections"] += len(wanted["scores"])
        for box, score, kind in zip(wanted["boxes"], wanted["scores"], wanted["classes"], strict=True):
            overlaps = np.where(found["classes"] == kind, _overlaps(box, found["boxes"]), 0.0)
            best = int(np.argmax(overlaps)) if len(overlaps) else None
            if best is None or overlaps[best] < SAME:
                numbers["missing"] += 1
            else:
                numbers["box"] = max(numbers["box"], float(np.abs(found["boxes"][best] - box).max()))
                numbers["score"] = max(numbers["score"], float(abs(found["scores"][best] - score)))
    return numbers


def _overlaps(box, others):
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    shared = sides.prod(axis=1)
    areas = [np.prod(one[..., 2:] - one[..., :2], axis=-1) for one in (box, others)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def text(path, numbers=None):
    """Lines about a file.

    Args:
        path: a TFLite file or a SavedModel's folder.
        numbers: of `differences`.

    Returns:
        str.
    """
    kinds = operators(path)
    lines = [
        f"{path}: {size(path) / 1e6:.2f} MB, {sum(kinds.values())} operators of {len(kinds)} kinds",
        "  " + ", ".join(f"{kind} {count}" for kind, count in kinds.items()),
    ]
    if numbers:
        lines.append(
            f"  against Keras on {numbers['pictures']} pictures, {numbers['detections']} detections: boxes within "
            f"{numbers['box']:.2g} px, scores within {numbers['score']:.2g}, {numbers['missing']} missing"
        )
    return "\n".join(lines)
