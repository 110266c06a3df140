"""What every detector keeps: the suite runs over all of `DETECTORS`, on its `tiny()` arguments."""

import functools
import inspect
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import contract
from kerasdet.detectors import DETECTORS
from tests.contract import scenes

BOX = (20, 30, 70, 75, 1)


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def make(request):
    kind = DETECTORS[request.param]
    return lambda **changes: kind(**{**kind.tiny(), **changes})


@pytest.fixture(scope="module")
def model(make):
    keras.utils.set_random_seed(1)
    return make()


@pytest.fixture(scope="module")
def batch(model):
    """`scenes.batch` with proposals for a detector that needs them."""
    return functools.partial(scenes.batch, proposals=model.needs_proposals)


def proposals(model, height, width):
    """Arguments of `detect` for a picture of a size."""
    return {"proposals": scenes.grid(height, width)} if model.needs_proposals else {}


def test_is_built_when_constructed(model):
    assert model.built
    assert model.count_params() == sum(int(np.prod(v.shape)) for v in model.variables)


def test_config_holds_every_argument(model):
    config = model.get_config()
    names = set(inspect.signature(type(model).__init__).parameters) | {"resize", "multiple"}
    assert names - {"self", "kwargs"} <= set(config) | {"resize", "multiple"}
    json.dumps(config)
    again = type(model).from_config(config)
    assert again.get_config() == config
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]


def test_detections_keep_the_contract(model, batch):
    images, _ = batch([BOX], [BOX, (5, 5, 30, 40, 0)])
    contract.check(images)
    found = model(images)
    scores, counts = found["scores"].numpy(), found["counts"].numpy()
    limit = scores.shape[1]
    assert found["boxes"].shape == (2, limit, 4) and found["boxes"].dtype == tf.float32
    assert found["classes"].dtype == tf.int32
    for i in range(2):
        assert (np.diff(scores[i]) <= 0).all() and scores[i].max() <= 1
        assert (found["classes"][i, counts[i] :].numpy() == -1).all() and (scores[i, counts[i] :] == 0).all()
        assert (found["classes"][i, : counts[i]].numpy() >= 0).all()


def test_a_permuted_batch_gives_permuted_outputs(model, batch):
    images, _ = batch([BOX], [(5, 5, 30, 40, 0)])
    turned = {name: tf.reverse(value, [0]) for name, value in images.items()}
    for a, b in zip(*(tf.nest.flatten(model.network(each)) for each in (images, turned)), strict=True):
        np.testing.assert_allclose(b[::-1], a, atol=1e-4 if a.shape[-1] == 4 else 1e-5)


def test_padding_changes_nothing(model, batch):
    images, _ = batch([BOX])
    pixels = tf.pad(images["pixels"], [[0, 0], [0, 0], [0, 64], [0, 0]], constant_values=200.0)
    clean = tf.pad(images["pixels"], [[0, 0], [0, 0], [0, 64], [0, 0]])
    both = (tf.nest.flatten(model.network({**images, "pixels": each})) for each in (pixels, clean))
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "objects",
    [[], [(10, 10, 11, 11, 0)], [(i % 17 * 5, i // 17 * 5, i % 17 * 5 + 8, i // 17 * 5 + 6, 1) for i in range(300)]],
    ids=["no object", "one pixel", "300 objects"],
)
def test_loss_is_finite_and_not_zero(model, objects, batch):
    images, targets = batch(objects)
    outputs = model.network(images)
    terms = model.loss_terms(outputs, targets, images)
    assert set(terms) == set(model.terms)
    assert all(np.isfinite(float(value)) for value in terms.values())
    assert float(tf.add_n(list(terms.values()))) > 0


def test_loss_where_no_picture_of_the_batch_has_objects(model, batch):
    """Objects are padded to the most of the batch, which may be none at all."""
    images, targets = batch([], [])
    none = {name: value[:, :0] for name, value in targets.items()}
    for training in (False, True):
        terms = model.loss_terms(model.network(images, training=training), none, images, training)
        assert all(np.isfinite(float(value)) for value in terms.values())


def test_images_that_fill_the_batch_count_nothing(model, batch):
    images, targets = batch([BOX])
    two, two_targets = batch([BOX], [(5, 5, 30, 40, 0)], ids=[0, -1])
    two["pixels"] = tf.concat([images["pixels"], two["pixels"][1:]], axis=0)
    assert scenes.total(model, two, two_targets) == pytest.approx(scenes.total(model, images, targets), rel=1e-5)
    assert int(model(two)["counts"][1]) == 0


def test_objects_under_a_crowd_give_no_gradient(model, batch):
    """A crowd over everything hides an image's background: only anchors with an object are left."""
    images, free = batch([])
    _, hidden = batch([(0, 0, scenes.SIDE, scenes.SIDE, 0, True)])
    outputs = tf.nest.map_structure(tf.constant, model.network(images))

    def gradient(objects):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = tf.add_n(list(model.loss_terms(outputs, objects, images).values()))
        found = tape.gradient(loss, outputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return sum(float(tf.reduce_sum(tf.abs(value))) for value in tf.nest.flatten(found))

    assert gradient(free) > 0
    assert gradient(hidden) < 0.2 * gradient(free)  # anchors that reach far over the border are not under the crowd


def test_overfits_one_image(make, batch):
    keras.utils.set_random_seed(2)
    model = make()
    images, objects = batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    data = tf.data.Dataset.from_tensors((images, objects)).repeat()
    first = scenes.total(model, images, objects)
    model.fit(data, steps_per_epoch=60, epochs=1, verbose=0)
    outputs = model.network(images, training=True)
    assert float(tf.add_n(list(model.loss_terms(outputs, objects, images).values()))) < 0.15 * first
    found = model.detections(outputs, images)
    for box, kind in zip(objects["boxes"][0].numpy(), objects["classes"][0].numpy(), strict=True):
        near = (found["classes"][0] == kind) & (np.abs(found["boxes"][0] - box).max(axis=1) < 6)
        assert found["scores"][0].numpy()[near].max(initial=0) > 0.3


def test_detects_in_pictures_of_any_size(make, tmp_path):
    """Files and arrays; boxes come back in the pictures' own pixels."""
    model = make(resize=("shorter", 64, 96), above=0.0)
    keras.utils.save_img(tmp_path / "photo.png", np.full([40, 60, 3], 90))
    for picture in (np.zeros([1, 1, 3], np.uint8), np.zeros([2000, 3, 3], np.uint8), tmp_path / "photo.png"):
        height, width = (40, 60) if not isinstance(picture, np.ndarray) else picture.shape[:2]
        found = model.detect(picture, above=0.0, **proposals(model, height, width))
        assert len(found["boxes"]) == len(found["scores"]) == len(found["names"]) > 0
        assert (found["boxes"] >= 0).all() and (found["boxes"] <= np.array([width, height] * 2) * (1 + 1e-5)).all()
    with pytest.raises(ValueError, match=r"\[height, width, 3\] of RGB pixels, got shape \(4, 4\)"):
        model.detect(np.zeros([4, 4], np.uint8), **proposals(model, 4, 4))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(make, dtype, batch):
    model = make(dtype=dtype)
    images, objects = batch([BOX])
    outputs = model.network(images, training=True)
    terms = model.loss_terms(outputs, objects, images)
    assert all(value.dtype == tf.float32 for name, value in outputs.items() if name != "features")
    assert all(value.dtype == tf.float32 for value in terms.values())
    assert model.detections(outputs, images)["boxes"].dtype == tf.float32
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    # Training halves the scale of the loss by itself until no gradient overflows; here there is one step.
    solver = keras.optimizers.SGD(0.01)
    if dtype == "mixed_float16":
        solver = keras.optimizers.LossScaleOptimizer(solver, initial_scale=2.0**10)
    model.compile(solver, clip_norm=10.0)
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(tf.data.Dataset.from_tensors((images, objects)), verbose=0)
    moved = [np.abs(v.numpy() - b).max() for v, b in zip(model.trainable_variables, before, strict=True)]
    assert np.isfinite(moved).all() and max(moved) > 0


def test_saved_model_detects_the_same_in_a_fresh_process(make, tmp_path, batch):
    """A `.keras` file after nothing but `import kerasdet`; `test_exports` has the files that know no kerasdet."""
    model = make(above=0.0)
    pixels = np.random.default_rng(3).integers(0, 255, [90, 70, 3]).astype(np.uint8)
    images, objects = batch([BOX])
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(tf.data.Dataset.from_tensors((images, objects)), verbose=0)
    given = proposals(model, 90, 70)
    found = model.detect(pixels, above=0.0, **given)
    np.savez(tmp_path / "given.npz", pixels=pixels, **given)
    np.savez(tmp_path / "expected.npz", **{name: found[name] for name in ("boxes", "scores", "classes")})
    model.save(tmp_path / "model.keras")
    check = """
import sys, keras, kerasdet.detectors, numpy as np
given, expected = np.load(sys.argv[1] + "/given.npz"), np.load(sys.argv[1] + "/expected.npz")
found = keras.saving.load_model(sys.argv[1] + "/model.keras").detect(above=0.0, pictures=given["pixels"],
    **{name: given[name] for name in given.files if name != "pixels"})
assert len(expected["scores"])
for name in expected.files:
    np.testing.assert_array_equal(found[name], expected[name])
"""
    done = subprocess.run([sys.executable, "-c", check, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_replicas_train_like_one():
    """Replicas need logical devices, which a process makes once: hence one of their own."""
    done = subprocess.run([sys.executable, "-m", "tests.contract.replicas"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == sorted(DETECTORS)
