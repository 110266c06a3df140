"""ExtremeNet: extreme points of masks, outputs made from the objects, octagons, and data without masks."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data
from kerasdet.decoding import extremes as decode
from kerasdet.detectors import ExtremeNet, extremenet
from kerasdet.targets import extremes
from kerasdet.targets import heatmaps as targets
from tests.contract import scenes
from tests.detectors.test_points import OBJECTS, placed, sure


def points_of(mask, frame, box):
    """The rule as a loop over one mask: sides from above, from the left, from below, from the right."""
    side, found = len(mask), []
    cell = (np.array(frame[2:]) - frame[:2]) / side
    for turn in range(4):
        # Along x for top and bottom; deep is the other direction.
        along = turn % 2
        grid = mask if along == 0 else mask.T
        grid = grid[::-1] if turn >= 2 else grid
        filled = np.flatnonzero(grid.any(0))
        depth = {i: int(np.flatnonzero(grid[:, i])[0]) for i in filled}
        deep = cell[1 - along]
        extent = grid.any(1).sum() * deep
        least = min(depth.values())
        start = next(i for i in filled if depth[i] == least)
        run = [start]
        for step in (1, -1):
            i = start + step
            while i in depth and (depth[i] - least) * deep <= 0.02 * (extent + 1):
                run.append(i)
                i += step
        place = frame[along] + ((min(run) + max(run)) / 2 + 0.5) * cell[along]
        edge = box[(1, 0, 3, 2)[turn]]
        found.append((place, edge) if along == 0 else (edge, place))
    return found


def test_extreme_points_of_masks():
    """Blobs with flat sides, bumps and gaps, in frames of other aspect ratios."""
    rng = np.random.default_rng(5)
    masks = np.zeros([2, 6, 40, 40], np.uint8)
    for mask in masks.reshape(-1, 40, 40):
        for _ in range(4):
            y, x = rng.integers(2, 25, 2)
            mask[y : y + rng.integers(3, 13), x : x + rng.integers(3, 13)] = 1
    low = rng.uniform(0, 50, [2, 6, 2])
    frames = np.float32(np.concatenate([low, low + rng.uniform(10, 400, [2, 6, 2])], -1))
    boxes = frames + np.float32([1, 2, -3, -1])
    found = extremes.of_masks(tf.constant(masks), tf.constant(frames), tf.constant(boxes)).numpy()
    for i in np.ndindex(2, 6):
        np.testing.assert_allclose(found[i], points_of(masks[i], frames[i], boxes[i]), rtol=1e-4, atol=1e-3)


def test_an_empty_mask_has_the_middles_of_its_box():
    masks, box = tf.zeros([1, 1, 8, 8], tf.uint8), tf.constant([[[10.0, 20.0, 30.0, 60.0]]])
    found = extremes.of_masks(masks, box, box)
    np.testing.assert_allclose(found[0, 0], [[20, 20], [10, 40], [20, 60], [30, 40]])


def test_groups_from_the_objects():
    """Outputs made from the objects, whose masks are diamonds, give them back, as octagons too."""
    model = ExtremeNet(**{**ExtremeNet.tiny(), "extreme_above": 0.1, "center_above": 0.1})
    size, grid = (95, 95), (24, 24)
    images, objects = scenes.batch(OBJECTS, size=size)
    steps = np.abs(np.arange(64) - 31.5)
    objects["masks"] = tf.constant(np.tile(np.uint8(steps[:, None] + steps < 33), [1, 2, 1, 1]))
    ratio = targets.cells_per_pixel(grid, size).numpy()
    points = model.learned_points(objects)
    inside = targets.clipped(objects["boxes"], size)
    sides = (inside[..., 2:] - inside[..., :2]) * ratio[:2]
    places, outputs = [*tf.unstack(points, axis=2), extremenet.middle(points)], {}
    for name, place in zip(model.points, places, strict=True):
        point = targets.points(place * ratio[:2], sides, objects["classes"] >= 0, 0.7)
        peak = targets.gaussians(point._replace(radii=0 * point.radii), objects["classes"], grid, 2)
        outputs[f"{name}_heat"] = [sure(peak)]
        if name != "center":
            outputs[f"{name}_offset"] = [placed([1, *grid, 2], point.cells[0].numpy(), point.offsets[0].numpy())]
    assert float(model.loss_terms(outputs, objects, images)["offset"]) < 1e-4
    found = model.detections(outputs, images)
    assert int(found["counts"][0]) == 2 and (found["scores"][0, :2].numpy() > 0.99).all()
    order = np.argsort(found["classes"][0, :2])
    np.testing.assert_allclose(found["boxes"][0].numpy()[order], objects["boxes"][0], atol=1e-2)
    # Of a box whose points lie in the middles of its sides the octagon lacks four triangles of legs 3/8.
    np.testing.assert_allclose(found["masks"][0, :2].numpy().mean((1, 2)), 1 - 2 * 0.375**2, atol=0.03)


def test_octagons_by_a_polygon():
    rng = np.random.default_rng(1)
    box = np.float32([10, 20, 90, 70])
    for _ in range(5):
        x, y = rng.uniform(box[0], box[2], 2), rng.uniform(box[1], box[3], 2)
        points = np.float32([[x[0], box[1]], [box[0], y[0]], [x[1], box[3]], [box[2], y[1]]])
        found = decode.octagons(tf.constant(points[None, None]), tf.constant(box[None, None]), 50)[0, 0].numpy()
        wide, high = (box[2:] - box[:2]) / 8
        top, bottom = (np.clip([p - wide, p + wide], box[0], box[2]) for p in x)
        left, right = (np.clip([p - high, p + high], box[1], box[3]) for p in y)
        corners = np.array([
            [top[0], box[1]], [top[1], box[1]], [box[2], right[0]], [box[2], right[1]],
            [bottom[1], box[3]], [bottom[0], box[3]], [box[0], left[1]], [box[0], left[0]],
        ])  # fmt: skip
        v, u = ((np.indices([50, 50]) + 0.5) / 50).reshape(2, -1)
        at = np.stack([box[0] + u * (box[2] - box[0]), box[1] + v * (box[3] - box[1])], -1)
        edges = np.roll(corners, -1, 0) - corners
        # Inside a convex polygon all edges have the point on the same hand.
        cross = (
            edges[:, None, 0] * (at - corners[:, None])[..., 1] - edges[:, None, 1] * (at - corners[:, None])[..., 0]
        )
        np.testing.assert_array_equal(found.ravel(), (cross >= -1e-3).all(0))


def test_data_without_masks_is_refused():
    records = [record for record in data.read("shapes", "val").records[:2]]
    for record in records:
        record.segments = None
    plain = data.Dataset("boxes alone", data.read("shapes", "val").classes, records)
    model = ExtremeNet(**{**ExtremeNet.tiny(), "classes": plain.classes})
    with pytest.raises(ValueError, match="ExtremeNet learns masks, but boxes alone has images without"):
        model.check(plain)
