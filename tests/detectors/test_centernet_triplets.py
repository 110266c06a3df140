"""CenterNet of keypoint triplets: outputs made from the objects, and what the check of central regions removes."""

import numpy as np
import tensorflow as tf

from kerasdet.detectors import CenterNetTriplets, cornernet
from kerasdet.detectors.centernet_triplets import central
from kerasdet.targets import heatmaps as targets
from tests.contract import scenes
from tests.detectors.test_points import OBJECTS, placed, sure

GRID, SIZE = (24, 24), (95, 95)
# With the paper's rules, and without its check.
SMALL = {**CenterNetTriplets.tiny(), "distance": 0.5, "regions": (3, 5), "outside": 5.0}
PLAIN = {**SMALL, "checked": False}


def made(objects):
    """Outputs that say what the objects' targets are, by one stack."""
    inside = targets.clipped(objects["boxes"], SIZE) * targets.cells_per_pixel(GRID, SIZE)
    real = objects["classes"] >= 0
    three = [*targets.corners(inside, real, 0.7), targets.centers(inside, real, 0.7)]
    outputs = {}
    for name, points in zip((*cornernet.CORNERS, "center"), three, strict=True):
        cells = points.cells[0].numpy()
        peak = targets.gaussians(points._replace(radii=0 * points.radii), objects["classes"], GRID, 2)
        outputs[f"{name}_heat"] = [sure(peak)]
        outputs[f"{name}_offset"] = [placed([1, *GRID, 2], cells, points.offsets[0].numpy())]
        if name != "center":
            outputs[f"{name}_tag"] = [placed([1, *GRID, 1], cells, 3.0 * np.arange(len(cells))[:, None])]
    return outputs


def test_triplets_from_the_objects():
    """Outputs made from the objects give them back; without their centers nothing of them is left."""
    model = CenterNetTriplets(**SMALL)
    images, objects = scenes.batch(OBJECTS, size=SIZE)
    outputs = made(objects)
    terms = model.loss_terms(outputs, objects, images)
    assert max(float(terms[name]) for name in ("pull", "push", "offset")) < 1e-4
    found = model.detections(outputs, images)
    order = np.argsort(found["classes"][0, :2])
    np.testing.assert_allclose(found["boxes"][0].numpy()[order], objects["boxes"][0], atol=1e-2)
    assert (found["scores"][0, :2].numpy() > 0.99).all() and (found["scores"][0, 2:].numpy() < 0.5).all()
    # The center of the second object alone is missing.
    heat = outputs["center_heat"][0].numpy()
    heat[..., 1] = -14.0
    left = model.detections({**outputs, "center_heat": [tf.constant(heat)]}, images)
    sure_ones = left["scores"][0].numpy() > 0.5
    np.testing.assert_array_equal(left["classes"][0].numpy()[sure_ones], [0])
    # Without the check both are there, as CornerNet says.
    plain = CenterNetTriplets(
        **{**CenterNetTriplets.tiny(), "distance": 0.5, "regions": (3, 5), "outside": 5.0, "checked": False}
    )
    left = plain.detections({**outputs, "center_heat": [tf.constant(heat)]}, images)
    assert (left["scores"][0, :2].numpy() > 0.99).all()


def test_a_pair_of_two_objects_has_no_center():
    """Tags that are all alike pair the first object's upper left with the second's lower right corner of a class."""
    both = [(9, 9, 35, 35, 0), (55, 57, 89, 91, 0)]
    model = CenterNetTriplets(**SMALL)
    plain = CenterNetTriplets(
        **{**CenterNetTriplets.tiny(), "distance": 0.5, "regions": (3, 5), "outside": 5.0, "checked": False}
    )
    images, objects = scenes.batch(both, size=SIZE)
    outputs = made(objects)
    outputs |= {f"{side}_tag": [0 * outputs[f"{side}_tag"][0]] for side in cornernet.CORNERS}
    wrong = np.float32([9, 9, 89, 91])
    for one, count in ((plain, 1), (model, 0)):
        found = one.detections(outputs, images)
        near = np.abs(found["boxes"][0].numpy() - wrong).max(axis=1) < 1
        assert (near & (found["scores"][0].numpy() > 0.5)).sum() == count


def test_central_regions_by_the_papers_formula():
    """Equation 1, corner by corner."""
    rng = np.random.default_rng(3)
    low, side = rng.uniform(0, 200, [1, 20, 2]), rng.uniform(10, 300, [1, 20, 2])
    boxes = np.concatenate([low, low + side], -1).astype(np.float32)
    scale = np.float32([[[1.5, 0.75]]])
    upper, lower = (one.numpy()[0] for one in central(tf.constant(boxes), tf.constant(scale)))
    for (x1, y1, x2, y2), (cx1, cy1), (cx2, cy2) in zip(boxes[0], upper, lower, strict=True):
        n = 5 if (x2 - x1) / 1.5 * (y2 - y1) / 0.75 > 150 * 150 else 3
        wanted = [((n + 1) * x1 + (n - 1) * x2) / (2 * n), ((n + 1) * y1 + (n - 1) * y2) / (2 * n)]
        wanted += [((n - 1) * x1 + (n + 1) * x2) / (2 * n), ((n - 1) * y1 + (n + 1) * y2) / (2 * n)]
        np.testing.assert_allclose([cx1, cy1, cx2, cy2], wanted, rtol=1e-5)
