"""The rows of YOLO's label files: a class and a box or an outline, in fractions of the picture."""

import math

import numpy as np

from kerasdet.data import faults, files

# Rounding may carry fractions slightly past the picture; numbers that exceed it by more are not fractions.
_SLACK = 0.5
# So many outlines tell whether they are some.
_LOOKED = 200


def read(label, count):
    """The objects of a label file: line number, class id, and points [P, 2] as fractions; a box has two points."""
    rows = []
    for line, row in enumerate(files.text(label).splitlines(), 1):
        fields = row.split()
        if not fields:
            continue
        place = f"{label}, line {line}"
        try:
            class_id, *values = map(float, fields)
        except ValueError:
            faults.report(f"{place}: numbers are needed, class cx cy w h or class x1 y1 x2 y2 x3 y3 ...; got {row!r}.")
            continue
        fault = _fault(class_id, values, count)
        if fault:
            faults.report(f"{place}: {fault}; the row is {row!r}.")
            continue
        if len(values) == 4:
            x, y, width, height = values
            values = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        rows.append((line, int(class_id), np.reshape(values, (-1, 2))))
    return rows


def _fault(class_id, values, count):
    """Says what is wrong with a row, or returns None."""
    if not class_id.is_integer() or not 0 <= class_id < count:
        return f"class {class_id:g} is none of 0 ... {count - 1}"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"cx cy w h or at least three points must follow the class, not {len(values)} numbers"
    if len(values) > 6 and not len(values) % 3 - 1 and set(values[6::3]) <= {0, 1, 2} and 2 in values[6::3]:
        return "its numbers look like pose labels without kpt_shape; keypoints are read from COCO files only"
    if not all(math.isfinite(value) and -_SLACK <= value <= 1 + _SLACK for value in values):
        return "its numbers must be fractions of the picture, 0...1"
    if len(values) == 4 and min(values[2:]) < 0:
        return "width and height must not be negative"
    return None


def check_pose(rows, source):
    """Refuses keypoints without `kpt_shape`, which would be read as outlines: rows of one length, a box first.

    They are told from outlines by their points: most lie in the box, or the outline would cross itself.
    """
    long = [points.ravel() for some in rows for _, _, points in some if len(points) > 2][:_LOOKED]
    count = len(long[0]) if long else 0
    if len(long) < 2 or any(len(values) != count for values in long):
        return
    posed = np.mean([_in_box(values) for values in long]) > 0.5
    crossed = np.mean([_crosses(values.reshape(-1, 2)) for values in long]) > 0.1
    if posed or crossed:
        faults.report(
            f"{source}: each row holds {count + 1} numbers, and as outlines they make no sense: they look like pose "
            "labels without kpt_shape. Keypoints are read from COCO files only: export as COCO, or keep five numbers."
        )


def _in_box(values):
    """Whether four numbers are a box that holds the points after them, of two or three numbers each."""
    x, y, width, height = values[:4]
    for step in (2, 3):
        if (len(values) - 4) % step:
            continue
        points = values[4:].reshape(-1, step)
        seen = points[points[:, 2] > 0] if step == 3 else points[(points > 0).any(1)]
        if step == 3 and not np.isin(points[:, 2], (0, 1, 2)).all():
            continue
        if len(seen) and (np.abs(seen[:, :2] - [x, y]) <= np.array([width, height]) / 2 + 0.01).all():
            # An outline would have the sides as a point too, most likely far from the others.
            return step == 3 or not (np.abs([width - x, height - y]) <= np.ptp(seen, 0) / 2 + 0.01).all()
    return False


def _crosses(points):
    """Whether the outline through points crosses itself."""
    count = len(points)
    starts, steps = points, np.roll(points, -1, 0) - points

    def side(of, line):
        to = of - starts[line]
        return steps[line, 0] * to[1] - steps[line, 1] * to[0]

    for one in range(count):
        for other in range(one + 2, count - (one == 0)):
            ends = points[(other + 1) % count], points[(one + 1) % count]
            apart = side(points[other], one) * side(ends[0], one) < 0
            if apart and side(points[one], other) * side(ends[1], other) < 0:
                return True
    return False


def area(points):
    """Area of a polygon, by the shoelace formula."""
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
