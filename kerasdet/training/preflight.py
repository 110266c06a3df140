"""The pre-flight: what would keep AP at 0, found in seconds before the first step."""

import dataclasses
import hashlib
import os

import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.data import pipeline, suspect
from kerasdet.data.dataset import Encoded
from kerasdet.training import cluster

# An anchor should reach this share of the objects, or a pyramid that does is printed; below the second it is a fault.
_REACHED, _MISSED = cluster.ENOUGH, 0.3
# Share of objects smaller than a cell of the finest map, from which on it is a fault.
_TINY = 0.1
# COCO's bounds of small, medium and large objects, the square root of their area, pixels.
_SIZES = (32, 96)
_RATIOS = (0.5, 2.0)
_BLOCK = 64


@dataclasses.dataclass
class Report:
    """What a pre-flight found.

    Attributes:
        lines: facts, a line each.
        faults: what is wrong and what to do about it, a line each; empty where nothing is.
        hopeless: with these faults nothing can be learned.
    """

    lines: list = dataclasses.field(default_factory=list)
    faults: list = dataclasses.field(default_factory=list)
    hopeless: bool = False

    def add(self, faults, hopeless):
        """Adds faults; `hopeless` stays once set."""
        self.faults += faults
        self.hopeless |= hopeless

    def check(self):
        """Stops where nothing can be learned.

        Raises:
            ValueError: one line.
        """
        if self.hopeless:
            raise ValueError(f"nothing can be learned: {self.faults[0]} (--preflight=false trains all the same)")

    def __str__(self):
        faults = [f"  FAULT {fault}" for fault in self.faults] or ["  no fault found"]
        return "\n".join(["pre-flight", *(f"  {line}" for line in self.lines), *faults])


def preflight(model, train, validation=None, transforms=(), images=200):
    """Looks for what would keep AP at 0: box format, class ids, EXIF, anchors, sizes, shared pictures.

    Faults are warnings, for data that is only partly wrong still teaches something. Only where
    nothing can be learned `hopeless` is set, and `tools/train` stops: no objects, class ids without names, boxes in
    another format, no masks or keypoints for a model that needs them.

    Args:
        model: a `Detector`.
        train, validation: `Dataset`s; validation may be None.
        transforms: tuples of `data.transforms`, as in training.
        images: how many pictures are looked at as the network gets them; annotations are looked at in all.

    Returns:
        A `Report`.
    """
    report = Report()
    for dataset in (train, validation):
        if dataset is not None:
            _annotations(dataset, report)
            _needs(model, dataset, report)
    _classes(train, report)
    if not report.hopeless:
        seen = targets(model, train, transforms, images)
        _sizes(model, seen, report)
        _anchors(model, seen, report)
    if validation is not None:
        _shared(train, validation, images, report)
    return report


def targets(model, dataset, transforms=(), images=200, seed=0):
    """The objects of some pictures as the network gets them, after transforms and `preprocess`.

    Args:
        model: a `Detector`.
        dataset: a `Dataset`.
        transforms: tuples of `data.transforms`.
        images: at most so many pictures, drawn at random.
        seed: of the draw.

    Returns:
        List of (boxes [M, 4] float32 without crowds, (height, width)) a picture, network pixels.
    """
    stream = pipeline.load(dataset, model.preprocess, 1, training=True, transforms=transforms, seed=seed)
    seen = []
    with pipeline.named(dataset):
        for picture, objects in stream.take(min(images, len(dataset))):
            real = (objects["classes"] >= 0) & ~objects["crowds"]
            seen.append((objects["boxes"][real].numpy(), tuple(picture["pixels"].shape[1:3])))
    return seen


def reach(model, seen):
    """Each object's best overlap with the model's anchors where they stand.

    Args:
        model: a `Detector` with `anchors`.
        seen: what `targets` returned.

    Returns:
        [N] float32 in 0...1, the objects of all pictures in their order.
    """
    layouts = {size: model.anchors(size) for size in {size for _, size in seen}}
    best = [np.zeros(0, np.float32)]
    for boxes, size in seen:
        for start in range(0, len(boxes), _BLOCK):
            best.append(_best(tf.constant(boxes[start : start + _BLOCK]), layouts[size]).numpy())
    return np.concatenate(best)


@tf.function(reduce_retracing=True)
def _best(boxes, anchors):
    return tf.reduce_max(box.iou(boxes, anchors), axis=1)


def _annotations(dataset, report):
    kept = sum(len(record.boxes) for record in dataset.records)
    empty = sum(not len(record.boxes) for record in dataset.records)
    report.lines.append(f"{dataset.name}: {len(dataset)} pictures, {empty} of them without objects; {kept} objects")
    report.add(*suspect.boxes(dataset))


def _needs(model, dataset, report):
    try:
        model.check(dataset)
    except ValueError as error:
        report.add([str(error)], hopeless=True)


def _classes(dataset, report):
    counts, faults, hopeless = suspect.classes(dataset)
    order = np.argsort(-counts, kind="stable")
    report.lines.append("classes: " + suspect.some([f"{dataset.classes[i]} {counts[i]}" for i in order], 20))
    report.add(faults, hopeless)


def _sizes(model, seen, report):
    sides = np.sqrt(_areas(_joined(seen)))
    if not len(sides):
        return
    marks = ", ".join(f"{mark:.0f}" for mark in np.percentile(sides, (0, 10, 50, 90, 100)))
    report.lines.append(f"square root of area in network pixels, least, 10 %, half, 90 %, most: {marks}")
    stride = 2 ** model.anchors.levels[0] if hasattr(getattr(model, "anchors", None), "levels") else None
    tiny = np.mean(sides < stride) if stride else 0.0
    if tiny > _TINY:
        report.faults.append(
            f"{tiny:.0%} of the objects are smaller than a cell of the finest map, {stride} network pixels: give the "
            f"network larger pictures (resize={model.resize}) or tiles."
        )


def _anchors(model, seen, report):
    """Reach in all, by size and by aspect ratio; where it is low, the pyramid that fits."""
    if not (hasattr(model, "anchors") and hasattr(model, "positive")):
        return
    boxes, reached = _joined(seen), reach(model, seen) >= model.positive
    if not len(boxes):
        return
    share = float(np.mean(reached))
    report.lines.append(f"an anchor reaches {share:.3f} of {len(boxes)} objects (IoU of {model.positive} or more)")
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    report.lines.append("  by size: " + _by(np.sqrt(sides.prod(1)), _SIZES, reached))
    report.lines.append("  by height over width: " + _by(sides[:, 1] / sides[:, 0], _RATIOS, reached))
    if share < _REACHED:
        report.lines.append("  to reach more, " + advice(model, seen))
    if share < _MISSED:
        report.faults.append(f"anchors miss the objects, they reach {share:.1%} of them: {advice(model, seen)}")


def advice(model, seen, seed=0):
    """What makes the anchors reach more objects.

    Args:
        model: a `Detector`.
        seen: what `targets` returned.
        seed: of `cluster.fit`.

    Returns:
        A line: what to put into the config's `model`, with the share reached before and after; or to give larger
        pictures, where no pyramid does better. Default boxes are parts of the picture: for them it is the objects' own.
    """
    boxes = _joined(seen)
    if "scales" in model.arguments:
        parts = [np.sqrt(np.prod(found[:, 2:] - found[:, :2], axis=1) / np.prod(size)) for found, size in seen]
        marks = ", ".join(f"{mark:.3f}" for mark in np.quantile(np.concatenate(parts), (0.1, 0.5, 0.9)))
        scales = ", ".join(f"{scale:g}" for scale in model.arguments["scales"])
        return f"let the scales ({scales}) begin at the objects' own: {marks} of the picture (10 %, half, 90 %)."
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    now = {key: model.arguments[key] for key in ("levels", "octaves", "ratios", "scale") if key in model.arguments}
    if len(now) == 4 and len(boxes):
        better = cluster.fit(boxes, **now, positive=model.positive, seed=seed)
        before, after = (np.mean(cluster.overlaps(boxes, **one) >= model.positive) for one in (now, better))
        if after > before:
            line = ", ".join(f'"{key}": {value}' for key, value in better.items())
            return f"put into the config's model: {line}  (reached {before:.3f} -> {after:.3f})"
    return f"give the network larger pictures than resize={model.resize}, or tiles."


def _shared(train, validation, images, report):
    """Pictures of the validation set that are in the training set too, by content."""
    chosen = np.random.default_rng(0).permutation(len(validation))[:images]
    looked = [validation.records[i] for i in chosen]
    lengths = {_length(record.image) for record in looked}
    known = {_hash(record.image): record for record in train.records if _length(record.image) in lengths}
    pairs = [(record, known[key]) for record in looked if (key := _hash(record.image)) in known]
    if pairs:
        first = " = ".join(record.name for record in pairs[0])
        report.faults.append(
            f"{len(pairs)} of {len(looked)} validation pictures are in the training set too, first {first}: AP will be "
            "too high; split again."
        )
    else:
        report.lines.append(f"none of {len(looked)} validation pictures is in the training set")


def _length(image):
    if isinstance(image, str):
        return os.path.getsize(image)
    return image.length if isinstance(image, Encoded) else image.nbytes


def _hash(image):
    if isinstance(image, str):
        with open(image, "rb") as file:
            return hashlib.sha256(file.read()).digest()
    return hashlib.sha256(image.read() if isinstance(image, Encoded) else np.ascontiguousarray(image)).digest()


def _joined(seen):
    return np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in seen)])


def _areas(boxes):
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _by(values, bounds, reached):
    """The share reached below, between and above two bounds."""
    low, high = bounds
    parts = ((f"below {low:g}", values < low), (f"{low:g} to {high:g}", (values >= low) & (values < high)))
    parts += ((f"{high:g} and more", values >= high),)
    return ", ".join(f"{name} {np.mean(reached[part]):.3f} of {part.sum()}" for name, part in parts if part.any())
