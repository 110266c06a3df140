"""Reports the operators and the size of an exported file, and how closely it matches Keras."""

import pathlib

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from kerasdet import boxes
from kerasdet.export import metadata

# Two boxes of a class are the same detection if their IoU is at least this, or all corners are this close, in pixels.
SAME, NEAR = 0.5, 1.0


def operators(path):
    """Counts the operators in a file.

    Args:
        path: a TFLite file, or the folder of a SavedModel.

    Returns:
        Dict of name to count, most frequent first; custom operators of a TFLite file begin with "CUSTOM".
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
        exported: an exported file opened by `load`.
        examples: paths or arrays [H, W, 3] uint8, or pairs of one and proposals [R, 4].
        above: minimum score of the detections to compare.

    Returns:
        Dict of the counts `pictures` and `detections`; `missing`, detections that the file lacks; and `extra`,
        detections that the detector lacks, where each detection matches at most one other. For matched detections, the
        largest differences: `box`, of a corner in pixels, `score` and, if present, `mask`, 1 - IoU, and `keypoint`, in
        pixels.
    """
    numbers = {"pictures": 0, "detections": 0, "missing": 0, "extra": 0, "box": 0.0, "score": 0.0}
    for example in examples:
        picture, *proposals = example if isinstance(example, tuple) else (example,)
        wanted = model.detect(picture, above, None, *proposals)
        found = exported.detect(picture, 0.0, None, *proposals)
        pairs = _pairs(wanted, found)
        numbers["pictures"] += 1
        numbers["detections"] += len(wanted["scores"])
        numbers["missing"] += len(wanted["scores"]) - len(pairs)
        numbers["extra"] += int((np.delete(found["scores"], [j for _, j in pairs]) >= above).sum())
        for i, j in pairs:
            for name, difference in _between(wanted, i, found, j).items():
                numbers[name] = max(numbers.get(name, 0.0), float(difference))
    return numbers


def _pairs(wanted, found):
    """Rows of the same detection in both, each at most once: each takes the nearest unmatched one of its class."""
    distances = np.abs(wanted["boxes"][:, None] - found["boxes"][None]).max(axis=-1)
    alike = (np.asarray(boxes.iou(wanted["boxes"], found["boxes"])) >= SAME) | (distances < NEAR)
    distances[~alike | (wanted["classes"][:, None] != found["classes"][None])] = np.inf
    pairs = []
    for i, row in enumerate(distances):
        if (row < np.inf).any():
            pairs.append((i, int(np.argmin(row))))
            distances[:, pairs[-1][1]] = np.inf
    return pairs


def _between(wanted, i, found, j):
    """The differences between two detections."""
    apart = {key: np.abs(wanted[key][i] - found[key][j]).max() for key in ("boxes", "scores")}
    differences = {"box": apart["boxes"], "score": apart["scores"]}
    if "masks" in wanted:
        either, both = (join(wanted["masks"][i], found["masks"][j]).sum() for join in (np.logical_or, np.logical_and))
        differences["mask"] = 1 - both / either if either else 0.0
    if "keypoints" in wanted:
        steps = wanted["keypoints"][i] - found["keypoints"][j]
        differences["keypoint"] = np.hypot(steps[:, 0], steps[:, 1]).max()
    return differences


def text(path, numbers=None):
    """Describes a file.

    Args:
        path: a TFLite file or a SavedModel's folder.
        numbers: None, or the dict from `differences`.

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
            f"  compared with Keras on {numbers['pictures']} pictures, {numbers['detections']} detections: boxes "
            f"within {numbers['box']:.2g} px, scores within {numbers['score']:.2g}, "
            + (f"masks within {numbers['mask']:.2g} of their areas, " if "mask" in numbers else "")
            + (f"keypoints within {numbers['keypoint']:.2g} px, " if "keypoint" in numbers else "")
            + f"{numbers['missing']} missing, {numbers['extra']} extra"
        )
    return "\n".join(lines)
