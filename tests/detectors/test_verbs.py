"""The verbs of Keras keep what `compile` promised, and data of one's own is checked before it is learned from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import micro


def batch(count=2, side=32, classes=((0, -1), (1, 2)), **changes):
    """(images, objects) of noise, with an object or two in each picture; `changes` replace entries."""
    boxes = np.tile(np.float32([[2, 3, 20, 25], [5, 5, 30, 30]]), (count, 1, 1))
    classes = np.int32(classes)[:count]
    boxes[classes < 0] = 0
    images = {
        "pixels": np.random.default_rng(side).integers(60, 200, [count, side, side, 3]).astype(np.float32),
        "windows": np.float32([[0, 0, side, side]] * count),
        "frames": np.float32([[1, 1, 0, 0]] * count),
        "ids": np.arange(count),
    }
    objects = {"boxes": boxes, "classes": classes, "crowds": np.zeros([count, 2], bool)}
    for part in (images, objects):
        part.update({key: value for key, value in changes.items() if key in part})
        for key in [key for key, value in part.items() if value is None]:
            del part[key]
    return images, objects


def stream(**arguments):
    return tf.data.Dataset.from_tensors(batch(**arguments))


@pytest.fixture(scope="module")
def model():
    model = micro.make()
    model.compile(keras.optimizers.SGD(0.01))
    return model


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_per_execution_trains_on_every_batch(steps):
    """Also on those that do not fill an execution: the same weights, whatever their number."""
    model, data = micro.make(), stream().repeat(7)
    model.compile(keras.optimizers.SGD(0.01), steps_per_execution=steps)
    model.fit(data, verbose=0)
    assert int(model.optimizer.iterations) == 7
    one = micro.make()
    one.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    traced = []
    one.network = lambda *given, own=one.network, **more: traced.append(tf.executing_eagerly()) or own(*given, **more)
    for images, objects in data:
        logs = one.train_on_batch(images, objects, return_dict=True)
    assert traced == [True] * 7
    for a, b in zip(model.trainable_variables, one.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert set(logs) == {"loss", "class", "box"} and logs["loss"] == pytest.approx(
        logs["class"] + logs["box"], rel=1e-5
    )


def test_one_batch_at_a_time(model):
    images, objects = batch()
    weights = [np.array(v) for v in model.trainable_variables]
    before = model.test_on_batch(images, objects, return_dict=True)
    assert model.evaluate(stream(), verbose=0, return_dict=True)["loss"] == pytest.approx(before["loss"], rel=1e-5)
    assert model.test_on_batch(images, objects)[0] == pytest.approx(before["loss"], rel=1e-5)
    np.testing.assert_array_equal(weights[0], model.trainable_variables[0])
    assert model.train_on_batch(images, objects)[0] == pytest.approx(before["loss"], rel=1e-5)
    assert np.abs(weights[0] - np.array(model.trainable_variables[0])).max() > 0
    found = model.predict_on_batch(images["pixels"])
    np.testing.assert_allclose(found["boxes"], model(images["pixels"])["boxes"], rtol=1e-4, atol=1e-4)


def test_a_second_fit_takes_other_sizes(model):
    for data in (stream(), stream(count=1, side=48), stream(side=64)):
        assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()
        assert np.isfinite(model.evaluate(data, verbose=0)).all()


def test_parts_of_a_batch_take_every_picture():
    """Of three pictures in two parts the last has two."""
    three = ((0, -1), (1, 2), (2, 0))
    model = micro.make()
    model.compile(keras.optimizers.SGD(0.01), accumulate=2)
    logs = model.train_on_batch(*batch(3, classes=three), return_dict=True)
    images, objects = batch(3, classes=three)
    model = micro.make()
    parts = [
        ({k: v[r] for k, v in images.items()}, {k: v[r] for k, v in objects.items()}) for r in (slice(1), slice(1, 3))
    ]
    losses = [sum(map(float, model.loss_terms(model.network(i), o, i).values())) for i, o in parts]
    assert logs["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"metrics": ["accuracy"]},
            r"compile takes no metrics: the loss is the sum of the loss terms \('class', 'box'\)",
        ),
        ({"loss": "mse"}, "compile takes no loss:"),
        ({"weighted_metrics": ["mse"]}, "compile takes no weighted_metrics:"),
        ({"jit_compile": True}, "compile takes no jit_compile:"),
        ({"clip_norm": "mse"}, "clip_norm must be a number above 0, or None, got 'mse'"),
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1, got 0"),
    ],
)
def test_what_compile_cannot_keep_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        micro.make().compile("sgd", **arguments)


def test_nothing_trains():
    model = micro.make()
    model.compile("sgd")
    model.trainable = False
    with pytest.raises(ValueError, match=r"^nothing trains: the terms \('class', 'box'\) reach none of the weights"):
        model.fit(stream(), verbose=0)


HINT = "a box is x1, y1, x2, y2 in pixels of the network's image"
WRONG = [
    ({"ids": None}, r"images has no 'ids'; it holds \['frames', 'pixels', 'windows'\]"),
    ({"crowds": None}, "objects has no 'crowds'"),
    ({"classes": [[1, -1], [2, 3]]}, r"objects\['classes'\] of image 1 has 3: the ids of 3 classes are 0...2"),
    ({"boxes": np.float32([[[20, 3, 2, 25]] * 2] * 2)}, rf"objects\['boxes'\] of image 0 has \[20.0, .*\]: {HINT}"),
    ({"boxes": np.full([2, 2, 4], np.nan, "f")}, r"objects\['boxes'\] of image 0 has \[nan, nan, nan, nan\]"),
    ({"boxes": np.float32([[[90, 3, 95, 25]] * 2] * 2)}, r"objects\['boxes'\] of image 0 has .* outside of 32 x 32"),
    ({"boxes": np.float32([[[0.1, 0.2, 0.5, 0.9]] * 2] * 2)}, r"objects\['boxes'\] are fractions such as"),
    ({"boxes": np.ones([2, 3, 4], "f")}, r"objects\['boxes'\] must begin with \(2, 2\), .*got shape \(2, 3, 4\)"),
    ({"pixels": np.full([2, 32, 32, 3], 0.5, "f")}, r"images\['pixels'\] must be RGB 0...255, .*: multiply by 255"),
    ({"pixels": np.full([2, 32, 32, 3], np.nan, "f")}, r"images\['pixels'\] must be RGB 0...255, got nan...nan"),
    ({"pixels": np.full([2, 32, 32, 3], 6e4, "f")}, r"images\['pixels'\] must be RGB 0...255, got 60000...60000"),
    ({"windows": np.float32([[0, 0, 1e3, 32]] * 2)}, r"images\['windows'\] of image 0 must be a box"),
    ({"frames": np.float32([[0, 1, 0, 0]] * 2)}, r"images\['frames'\] of image 0 must be scale x"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_data_of_ones_own_is_checked_before_it_is_learned_from(model, changes, message):
    changes = {k: np.asarray(v, np.int32) if k == "classes" else v for k, v in changes.items()}
    before = int(model.optimizer.iterations)
    for verb in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=f"^{message}") as refused:
            verb(stream(**changes), verbose=0)
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=f"^{message}"):
        model.train_on_batch(*batch(**changes))
    assert int(model.optimizer.iterations) == before


def test_what_fills_a_batch_may_be_anything(model):
    """An image of id -1 has no numbers to check."""
    boxes = np.tile(np.float32([[2, 3, 20, 25], [np.nan] * 4]), (2, 1, 1))
    images, objects = batch(ids=np.int64([4, -1]), windows=np.float32([[0, 0, 32, 32], [0] * 4]), boxes=boxes)
    objects["classes"] = np.int32([[0, -1], [9, 9]])
    assert np.isfinite(model.test_on_batch(images, {**objects, "boxes": np.nan_to_num(boxes)})[0])


@pytest.mark.parametrize("weights", ["a weight for each", "no objects"])
def test_a_batch_is_a_pair(model, weights):
    images, objects = batch()
    data = (images, objects, np.ones(2)) if weights == "a weight for each" else (images,)
    with pytest.raises(ValueError, match=r"^a batch must be \(images, objects\), .* without sample weights; got"):
        model.fit(tf.data.Dataset.from_tensors(data), verbose=0)


def test_terms_must_be_those_that_are_named():
    model = micro.make()
    model.terms = ("class", "box", "objectness")
    model.compile("sgd")
    for verb in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"^Micro.loss_terms gives \['box', 'class'\], but its `terms` are"):
            verb(*batch())
