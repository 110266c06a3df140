"""What every detector keeps: the suite runs over all of `DETECTORS`, on its `tiny()` arguments."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import contract
from kerasdet.detectors import DETECTORS
from kerasdet.detectors.settings import SETTINGS
from kerasdet.weights import names as weights
from tests.contract import scenes
from tests.contract.kinds import KINDS

BOX = (20, 30, 70, 75, 1)


def test_is_built_when_constructed(model):
    assert model.built
    assert model.count_params() == sum(int(np.prod(v.shape)) for v in model.variables)


def test_config_holds_every_argument(model, again):
    config = model.get_config()
    names = set(inspect.signature(type(model).__init__).parameters) | {"resize", "multiple"}
    assert names - {"self", "kwargs"} <= set(config) | {"resize", "multiple"}
    json.dumps(config)
    assert again.get_config() == config
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]


def test_a_preset_keeps_rows_by_name_for_other_classes(model, tmp_path, capsys):
    """Outputs of a class that stays are its own, the others start again, and all else is the preset's."""
    if not model.class_heads:
        assert type(model) not in DETECTORS.values()
        pytest.skip("a detector of one's own need not name its class heads")
    model.save_preset(tmp_path)
    kept = model.classes[-1]
    other = type(model).from_preset(tmp_path, classes=["ring", kept, "bar"])
    assert other.classes == ("ring", kept, "bar") and "by class name" in capsys.readouterr().out
    ours = weights.weights(model)

    def row(variable, one, head):
        value = variable.numpy()
        value = value[..., : value.shape[-1] - one.class_rest]
        names = list(one.outputs_of(head))
        return value.reshape(*value.shape[:-1], -1, len(names))[..., names.index(kept)]

    for name, variable in weights.weights(other).items():
        if (head := name.rpartition("/")[0]) in other.class_heads:
            np.testing.assert_array_equal(row(variable, other, head), row(ours[name], model, head), err_msg=name)
        else:
            np.testing.assert_array_equal(variable, ours[name], err_msg=name)


def test_settings_and_names_are_checked(model):
    """What may be set has a range, other arguments are fixed, and layers are known by their attributes."""
    for setting in SETTINGS.keys() & type(model).parameters:
        with pytest.raises(ValueError, match=f"^{setting} must be a"):
            setattr(model, setting, -1)
    with pytest.raises(AttributeError, match=r"\.multiple is fixed when it is constructed"):
        model.multiple = 7
    with pytest.raises(ValueError, match="write \\['dog'\\]"):
        type(model)(**{**type(model).tiny(), "classes": "dog"})
    named = {path: layer for path, layer in weights.layers(model).items() if path and "/" not in path}
    assert named and all(model.get_layer(path) is layer for path, layer in named.items())


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
    """What lies right of the window, whose half of the picture a detector of any size gets beside it as well."""
    images, _ = batch([BOX])
    pixels, (_, width) = images["pixels"], scenes.size(model)
    images["windows"] *= [1.0, 1.0, 2 * width // 3 / width, 1.0]
    wider = [] if model.fixed else [tf.concat([pixels, pixels], axis=2)]
    for dirty in [pixels, *wider]:
        seen = tf.cast(tf.range(dirty.shape[2]) < 2 * width // 3, tf.float32)
        clean = dirty * seen[:, None]
        both = (tf.nest.flatten(model.network({**images, "pixels": each})) for each in (dirty, clean))
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
    """A crowd over everything hides an image's background, also where anchors reach over its border."""
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
    assert gradient(hidden) == 0


def test_overfits_one_image(lesson):
    assert lesson["after"] < 0.15 * lesson["before"]
    assert min(scenes.scores(lesson["found"], lesson["objects"])) > 0.3


def test_detects_in_pictures_of_any_size(model, make, proposals, tmp_path):
    """Files and arrays; boxes come back in the pictures' own pixels."""
    keras.utils.set_random_seed(1)
    model = make(**({} if model.fixed else {"resize": ("shorter", 64, 96)}), above=0.0)
    keras.utils.save_img(tmp_path / "photo.png", np.full([40, 60, 3], 90))
    for picture in (np.zeros([1, 1, 3], np.uint8), np.zeros([2000, 3, 3], np.uint8), tmp_path / "photo.png"):
        height, width = (40, 60) if not isinstance(picture, np.ndarray) else picture.shape[:2]
        found = model.detect(picture, 0.0, None, *proposals(height, width))
        assert len(found["boxes"]) == len(found["scores"]) == len(found["names"]) > 0
        assert (found["boxes"] >= 0).all() and (found["boxes"] <= np.array([width, height] * 2) * (1 + 1e-5)).all()
    if "limit" in type(model).parameters:
        model.limit = 1
        assert len(model.detect(picture, 0.0, None, *proposals(height, width))["scores"]) == 1
    with pytest.raises(ValueError, match=r"\[height, width, 3\] of RGB pixels, got shape \(4, 4\)"):
        model.detect(np.zeros([4, 4], np.uint8), 0.0, None, *proposals(4, 4))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, make, dtype, batch):
    """Boxes and losses are float32. bfloat16 trains; float16's scale of the loss is the base's: one detector shows."""
    model = make(dtype=dtype)
    images, objects = batch([BOX])
    outputs = model.network(images, training=True)
    terms = model.loss_terms(outputs, objects, images)
    said = {name: value for name, value in outputs.items() if name != "features"}
    assert all(value.dtype == tf.float32 for value in tf.nest.flatten([said, terms]))
    assert np.isfinite(tf.nest.flatten(terms)).all()
    assert model.detections(outputs, images)["boxes"].dtype == tf.float32
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    # Training halves the scale of the loss by itself until no gradient overflows; here there is one step.
    solver = keras.optimizers.SGD(0.01)
    if dtype == "mixed_float16":
        if name != "Cells":
            return
        solver = keras.optimizers.LossScaleOptimizer(solver, initial_scale=2.0**10)
    model.compile(solver, clip_norm=10.0)
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(tf.data.Dataset.from_tensors((images, objects)), verbose=0)
    moved = [np.abs(v.numpy() - b).max() for v, b in zip(model.trainable_variables, before, strict=True)]
    assert np.isfinite(moved).all() and max(moved) > 0


def test_saved_model_detects_the_same_in_a_fresh_process(trained, proposals, picture, fresh, tmp_path):
    """A `.keras` file after nothing but `import kerasdet`; `test_exports` has the files that know no kerasdet."""
    given = {"pixels": picture(90, 70), **dict(zip(["proposals"], proposals(90, 70), strict=False))}
    found = trained.detect(given["pixels"], above=0.0, **{k: v for k, v in given.items() if k != "pixels"})
    np.savez(tmp_path / "given.npz", **given)
    np.savez(tmp_path / "expected.npz", **{name: found[name] for name in found if name != "names"})
    trained.save(tmp_path / "model.keras")
    fresh.ask(folder=str(tmp_path), module=type(trained).__module__)


def test_two_replicas_train_like_one(name, replicas):
    """Replicas need logical devices, which a process makes once: hence one of their own."""
    replicas.ask(name=name)


def test_one_size_is_said_at_the_door():
    kind = KINDS["Cells"]
    with pytest.raises(ValueError, match="Cells takes one size of image: resize must be one of"):
        kind(2, resize=("keep",))
    model = kind(2)
    with pytest.raises(ValueError, match="Cells takes one size of image: it cannot be trained at several"):
        model.preprocess(np.zeros([9, 9, 3], np.uint8), size=64)
    with pytest.raises(ValueError, match=r"Cells takes images of \(64, 64\) alone, got size \(96, 72\)"):
        model.export("never.tflite", format="litert", size=(96, 72))
