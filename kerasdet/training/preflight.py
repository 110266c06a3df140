"""The pre-flight: what would keep AP at 0, found in seconds before the first step."""

import dataclasses

import numpy as np

from kerasdet.data import suspect
from kerasdet.training import reach

# Where fewer objects than this share have an anchor to start from, the anchors are a fault.
_MISSED = 0.3
# COCO's bounds of small, medium and large objects, the square root of their area, pixels.
_SIZES = (32, 96)
_RATIOS = (0.5, 2.0)


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
    nothing can be learned or measured `hopeless` is set, and `tools/train` stops: no objects, class ids without names,
    boxes in another format, no masks or keypoints for a model that needs them.

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
        seen = reach.targets(model, train, transforms, images)
        _sizes(model, seen, report)
        _anchors(model, seen, report)
    if validation is not None:
        faults, hopeless = suspect.between(train, validation)
        report.add(faults, hopeless)
        if not faults:
            report.lines.append(f"none of {len(validation)} validation pictures is in the training set")
    return report


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
    report.lines += suspect.unused(dataset, counts)
    report.add(faults, hopeless)


def _sizes(model, seen, report):
    boxes, sizes = reach.real_objects(seen)
    if not len(boxes):
        return
    sides = np.sqrt(_areas(boxes))
    marks = ", ".join(f"{mark:.0f}" for mark in np.percentile(sides, (0, 10, 50, 90, 100)))
    report.lines.append(f"square root of area in network pixels, least, 10 %, half, 90 %, most: {marks}")
    if model.anchors is None:
        return
    cells = np.array([reach.finest_cell(model, size) for size in sizes.tolist()])
    tiny = np.mean(sides < cells)
    if tiny > reach.TINY:
        report.faults.append(
            f"{tiny:.0%} of the objects are smaller than a cell of the finest map, {np.median(cells):.0f} network "
            f"pixels: give the network larger pictures (resize={model.resize}) or tiles."
        )


def _anchors(model, seen, report):
    """Reach in all, by size and by aspect ratio; where it is low, what would reach more."""
    best = reach.overlaps(model, seen)
    if best is None or not len(best):
        return
    boxes, _ = reach.real_objects(seen)
    reached = best >= model.positive_iou
    share = np.mean(reached)
    report.lines.append(f"an anchor reaches {share:.3f} of {len(best)} objects (IoU of {model.positive_iou} or more)")
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    report.lines.append("  by size: " + _by(np.sqrt(sides.prod(1)), _SIZES, reached))
    report.lines.append("  by height over width: " + _by(sides[:, 1] / sides[:, 0], _RATIOS, reached))
    cure = reach.advice(model, seen, best) if share < reach.ENOUGH else None
    fair, least = reach.fair_start(model, best)
    if np.mean(fair) < _MISSED:
        cure = cure or "no others of their kind reach more; look at the sizes and ratios above."
        report.faults.append(f"anchors miss the objects, {np.mean(fair):.1%} have one of IoU {least} or more: {cure}")
    elif cure is not None:
        report.lines.append("  to reach more, " + cure)


def _areas(boxes):
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _by(values, bounds, reached):
    """The share reached below, between and above two bounds."""
    low, high = bounds
    parts = ((f"below {low:g}", values < low), (f"{low:g} to {high:g}", (values >= low) & (values < high)))
    parts += ((f"{high:g} and more", values >= high),)
    return ", ".join(f"{name} {np.mean(reached[part]):.3f} of {part.sum()}" for name, part in parts if part.any())
