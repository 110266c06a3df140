"""CornerNet-Saccade: what is learned, where it looks, and that crops find what the first look points at."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import saccades
from kerasdet.detectors import CornerNetSaccade, cornernet_saccade
from tests.contract import scenes


@pytest.fixture(scope="module")
def model():
    return CornerNetSaccade(**CornerNetSaccade.tiny())


def test_small_objects_are_neither_learned_nor_background(model):
    """One of 12 pixels: its corners have no gradient on the heat maps, but the attention map marks it."""
    images, objects = scenes.batch([(20, 30, 32, 40, 0)])
    outputs = tf.nest.map_structure(tf.zeros_like, model.network(images))
    heats = [outputs[f"{side}_heat"][0] for side in ("top_left", "bottom_right")]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([heats, outputs["attention"]])
        terms = model.loss_terms(outputs, objects, images)
    for heat, (row, column) in zip(heats, ((7, 5), (10, 8)), strict=True):
        gradient = tape.gradient(terms["heat"], heat).numpy()[0]
        assert gradient[row, column, 0] == 0 and gradient[row, column, 1] != 0
    small = tape.gradient(terms["attention"], outputs["attention"])[0][-1].numpy()[0, ..., 0]
    # A peak pulls its score up, all others down; the center lies at (26, 35).
    assert small[35 // 4, 26 // 4] < 0 and (np.delete(small.ravel(), 35 // 4 * 24 + 26 // 4) > 0).all()


def test_views_show_the_whole_picture(model):
    """The longer side of the first looks has their size, whatever the picture's is."""
    for height, width in ((50, 200), (400, 100)):
        looks = model.first_looks(tf.constant([[height, width]], tf.float32))
        origin, length = saccades.windows(looks[0], model.side)
        assert (length >= max(height, width)).numpy().all()
        assert (origin[:, 0] <= 0).numpy().all() and (origin[:, 1] <= 0).numpy().all()


def test_crops_by_a_loop():
    """Each pixel of a view at the place of the picture that it shows, and black outside."""
    ramp = np.broadcast_to(np.arange(60, dtype=np.float32)[None, :, None], [40, 60, 3])
    for y, x, zoom in ((20, 30, 1.0), (5, 55, 1.7), (39, 0, 3.0)):
        view = tf.constant([[y, x, zoom]], tf.float32)
        found = saccades.zoomed(tf.constant(ramp[None]), tf.constant([[0, 0, 60, 40]]), [0], view, 31)[
            0, ..., 0
        ].numpy()
        origin, length = (one.numpy()[0] for one in saccades.windows(view, 31))
        inside = found > 0
        expected = origin[1] + (np.arange(31) + 0.5) * length / 31 - 0.5
        shown = np.broadcast_to(expected, found.shape)
        # The part inside is resized to whole pixels by itself, so that it may be off by a pixel of the view.
        assert np.abs(found - shown)[inside].max() <= 1 + length / 31


def test_no_more_crops_than_asked(model):
    """Where attention maps are full of peaks, as many views run as `crops` and first looks say."""
    images, _ = scenes.batch([(20, 30, 70, 75, 1)])
    seen = []
    once = model.network

    def network(images, training=False):
        seen.append(images["pixels"].shape[0])
        return once(images, training)

    places = tf.random.stateless_uniform([2, 500, 4], [1, 2]) * tf.constant([96.0, 96.0, 2.0, 1.0])
    crops = saccades.apart(places, model.crops)
    assert crops.shape == (2, model.crops, 4) and (crops[..., 3] > 0).numpy().all()
    vars(model)["network"] = network
    try:
        model.detections(None, images)
    finally:
        del vars(model)["network"]
    assert set(seen) == {model.block}


def test_places_that_are_apart_by_a_loop():
    rng = np.random.default_rng(2)
    places = np.float32(rng.uniform(0, 1, [80, 4]) * [200, 300, 3.5, 1] + [0, 0, 0.5, 0])
    left, expected = list(places), []
    while left and len(expected) < 12:
        best = max(left, key=lambda place: place[3])
        expected.append(best)
        alike = [0.8 <= one[2] / best[2] <= 1.2 for one in left]
        near = [min(abs(one[0] - best[0]), abs(one[1] - best[1])) <= 16 / best[2] for one in left]
        left = [one for one, a, b in zip(left, alike, near, strict=True) if not (a and b)]
    found = saccades.apart(tf.constant(places[None]), 12)[0].numpy()
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert (found[len(expected) :, 3] == 0).all()


def test_attention_maps_are_of_objects_of_their_sizes(model):
    """From the coarsest: large, medium and small objects; both ends belong to a range."""
    assert [sides for _, sides in cornernet_saccade.ATTENTION] == [(96, 256), (32, 96), (0, 32)]
    assert len(model.cells()) == 6 * 6 + 12 * 12 + 24 * 24
