"""Stages that share parts and proposals: the four steps of Faster R-CNN, on a detector of two small heads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import images as image
from kerasdet import training
from kerasdet.data import proposals
from kerasdet.load import load
from kerasdet.training import cache, start
from kerasdet.weights import copy
from tests.training import micro

SETTINGS = {
    "batch_size": 4, "learning_rate": 0.05, "optimizer": "sgd", "warmup": 0, "drops": (100,), "ema": None,
    "evaluate_every": 3, "transforms": (("flip", 0.5),), "steps": 3, "weight_decay": 0.01,
}  # fmt: skip
# Of "box" as the proposal network and of "class" as what is run on its proposals.
FOUR = (
    {"terms": ("box",)},
    {"terms": ("class",), "init_from": "start", "proposals": "stage1"},
    {"terms": ("box",), "freeze": ("backbone/*",), "init_from": {"box_head/*": "stage1"}},
    {"terms": ("class",), "freeze": ("backbone/*",), "proposals": "stage3"},
)


@keras.saving.register_keras_serializable("kerasdet tests")
class Two(micro.Micro):
    """Proposes its box, and in training one more; looks at the proposals that it gets."""

    def network(self, images, training=False):
        outputs = super().network(images, training)
        if "proposals" in images:
            tf.debugging.assert_equal(tf.shape(images["proposals"])[1], 2 if training else 1)
            outputs["logits"] += 0.01 * tf.reduce_sum(images["proposals"], [1, 2])[:, None]
        return outputs

    def proposals(self, outputs, images, training=False):
        first = tf.sort(tf.abs(tf.reshape(outputs["boxes"], [-1, 2, 2]) * 8), axis=1)
        first = tf.reshape(first, [-1, 1, 4]) + [0.0, 0.0, 8.0, 8.0]
        empty = tf.zeros_like(first)  # padding, which is not written
        return tf.concat([first, first + 3.0, empty] if training else [first, empty], axis=1)


def make():
    keras.utils.set_random_seed(0)
    return Two()


@pytest.fixture(scope="module")
def dataset():
    return micro.photos()


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    home = tmp_path_factory.mktemp("four")
    training.fit(make(), dataset, micro.photos(5, seed=1), home, stages=FOUR, **SETTINGS)
    return home


def weights(model, part):
    model = model if isinstance(model, micro.Micro) else load(model)
    layers = getattr(model, part)
    return np.concatenate([np.ravel(v) for one in (layers if part == "backbone" else [layers]) for v in one.weights])


def same(a, b, part):
    return np.array_equal(weights(a, part), weights(b, part))


def test_four_steps(run):
    """What each step trains, keeps and starts from."""
    first, second, third, fourth = (run / f"stage{i}" for i in (1, 2, 3, 4))
    begin = make()
    assert not same(first, begin, "box_head") and same(first, begin, "class_head")
    assert same(second, begin, "box_head") and not same(second, begin, "class_head")
    assert not same(second, begin, "backbone") and not same(second, first, "backbone")
    assert same(third, second, "backbone") and same(third, second, "class_head")
    assert not same(third, first, "box_head")
    moved = np.abs(weights(third, "box_head") - weights(first, "box_head")).max()
    assert moved < np.abs(weights(third, "box_head") - weights(begin, "box_head")).max()  # it went on from stage 1
    assert same(fourth, second, "backbone") and same(fourth, third, "box_head")
    assert not same(fourth, third, "class_head")
    assert all(same(run, fourth, part) for part in ("backbone", "box_head", "class_head"))


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_proposals_are_those_of_the_stage(run, dataset, stage):
    model = load(run / stage)
    written, _ = proposals.read(run / stage / "proposals_train.npz")
    for record in dataset.records[:3]:
        images = {**model.preprocess(record.image[None]), "ids": tf.zeros([1], tf.int64)}
        found = model.proposals(model.network(images), images, training=True)
        expected = image.from_frames(found, images["frames"])[0, :2]
        np.testing.assert_allclose(written[proposals.name(record)], expected, atol=1e-4)
    assert {len(own) for own in proposals.read(run / stage / "proposals_validation.npz")[0].values()} == {1}
    assert not (run / "stage2" / "proposals_train.npz").exists()


def test_resumed(run, dataset, capsys):
    """Killed in the fourth step: the proposals are not made again, and the weights are the same."""
    before = weights(run, "class_head")
    (run / "stage4" / "done").unlink()
    for checkpoint in (run / "stage4" / "checkpoints").iterdir():
        checkpoint.unlink()
    path = run / "stage3" / "proposals_train.npz"
    written = path.stat().st_mtime_ns
    training.fit(make(), dataset, micro.photos(5, seed=1), run, stages=FOUR, resume=True, **SETTINGS)
    out = capsys.readouterr().out
    assert "stage 3 of 4 is done" in out and "stage 4 of 4\n" in out
    assert path.stat().st_mtime_ns == written
    np.testing.assert_allclose(weights(run, "class_head"), before, atol=1e-6)


def test_a_new_start_forgets_what_was_done(dataset, tmp_path):
    """Marks and proposals of an older run must not pass for this one's."""
    for name in ("stage1/done", "stage2/done", "stage1/proposals_train.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"old")
    training.fit(make(), dataset, None, tmp_path, stages=FOUR[:2], **SETTINGS)
    assert proposals.read(tmp_path / "stage1" / "proposals_train.npz")[0]
    assert all((tmp_path / f"stage{i}" / "done").read_bytes() == b"" for i in (1, 2))


def test_what_all_stages_start_from_is_loaded_once(run, dataset, tmp_path):
    """Else each stage would throw away what the one before learned."""
    stages = ({"terms": ("box",)}, {"terms": ("class",), "freeze": ("backbone/*",)})
    training.fit(make(), dataset, None, tmp_path, stages=stages, init_from=run, **SETTINGS)
    assert same(tmp_path / "start.keras", run, "class_head") and not same(tmp_path / "start.keras", make(), "backbone")
    assert same(tmp_path / "stage2", tmp_path / "stage1", "box_head")
    assert not same(tmp_path / "stage2", run, "box_head")


def test_a_pattern_for_all_is_kept(dataset, tmp_path):
    second = {"terms": ("class",), "freeze": ("backbone/*",), "init_from": {"box_head/*": "stage1", "*": "start"}}
    stages = ({"terms": ("box",)}, second)
    training.fit(make(), dataset, None, tmp_path, stages=stages, **SETTINGS)
    assert same(tmp_path / "stage2", make(), "backbone") and not same(tmp_path / "stage1", make(), "backbone")
    assert same(tmp_path / "stage2", tmp_path / "stage1", "box_head")


def test_without_validation(dataset, tmp_path):
    training.fit(make(), dataset, None, tmp_path, stages=FOUR[:2], **SETTINGS)
    assert not (tmp_path / "stage1" / "proposals_validation.npz").exists()


def test_parts_of_several_runs(run):
    model = make()
    done = start.load(model, {"box_head/*": run / "stage1", "backbone/0/*": run / "stage2"})
    assert same(model, run / "stage1", "box_head") and same(model, make(), "class_head")
    np.testing.assert_array_equal(model.backbone[0].kernel, load(run / "stage2").backbone[0].kernel)
    np.testing.assert_array_equal(model.backbone[1].kernel, make().backbone[1].kernel)
    assert done["box_head/kernel"] == copy.LOADED and done["class_head/kernel"] == copy.MISSING
    assert copy.table(done, {"box_head/*": "a"}).startswith("weights of a for box_head/*: ")
    with pytest.raises(ValueError, match="init_from: 'neck/.' matches no weight of the model"):
        start.load(model, {"neck/*": run / "stage1"})


def test_wrong_stages(dataset, tmp_path):
    for number, name in ((1, "stage1"), (2, "stage2"), (2, "proposals.npz")):
        stages = ({"steps": 3},) * (number - 1) + ({"proposals": name},)
        with pytest.raises(ValueError, match=f"stage {number}: proposals must be of one of .*, got '{name}'"):
            training.fit(make(), dataset, None, tmp_path, stages=stages, **SETTINGS)
    with pytest.raises(ValueError, match="Micro proposes no regions"):
        cache.propose(micro.make(), dataset, tmp_path / "none.npz")


@keras.saving.register_keras_serializable("kerasdet tests")
class Regressed(micro.Micro):
    """Its box is a linear function of pooled features, which ridge regression fits (R-CNN, appendix C)."""

    solvers = ("ridge",)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.box_layer = keras.layers.Dense(4)

    def pooled(self, images):
        x = self.pixels(images)
        for layer in self.backbone:
            x = layer(x)
        return tf.reshape(x, [-1, 32])

    def network(self, images, training=False):
        return {**super().network(images, training), "boxes": self.box_layer(self.pooled(images))}

    def solve_ridge(self, train, cached, strength=1.0):
        """kernel = (X'X + strength I)^-1 X'Y of centered features X and boxes Y; the means make the bias."""
        print("solving")
        stored = cached("pooled", train, lambda images: {"x": self.pooled(images)})
        x, y = map(np.float64, zip(*((arrays["x"], record.boxes[0] / 32) for record, arrays in stored), strict=True))
        centered = x - x.mean(0)
        kernel = np.linalg.solve(centered.T @ centered + strength * np.eye(32), centered.T @ (y - y.mean(0)))
        self.box_layer.kernel.assign(kernel)
        self.box_layer.bias.assign(y.mean(0) - x.mean(0) @ kernel)


@pytest.fixture(scope="module")
def solved(dataset, tmp_path_factory):
    home = tmp_path_factory.mktemp("solved")
    keras.utils.set_random_seed(0)
    stages = ({"terms": ("class",)}, {"solver": "ridge", "strength": 0.5})
    metrics = training.fit(Regressed(), dataset, micro.photos(5, seed=1), home, stages=stages, **SETTINGS)
    return home, stages, metrics


def test_a_stage_fits_weights_by_a_solver(solved, dataset):
    """At the minimum of |XW + b - Y|^2 + strength |W|^2 its gradient is zero; other weights stay the same."""
    home, _, metrics = solved
    first, model = load(home / "stage1"), load(home)
    kernel, bias = (np.float64(v) for v in model.box_layer.weights)
    images = {**model.preprocess(np.stack([r.image for r in dataset.records])), "ids": tf.range(12, dtype=tf.int64)}
    x, y = np.float64(model.pooled(images)), np.stack([record.boxes[0] / 32 for record in dataset.records])
    errors = x @ kernel + bias - y
    scale = np.abs(x.T @ y).max()
    np.testing.assert_allclose(x.T @ errors + 0.5 * kernel, 0, atol=1e-4 * scale)
    np.testing.assert_allclose(errors.sum(0), 0, atol=1e-4)
    assert np.square(errors).mean() < 0.5 * np.square(y - y.mean(0)).mean()
    np.testing.assert_array_equal(weights(first, "backbone"), weights(model, "backbone"))
    np.testing.assert_array_equal(weights(first, "class_head"), weights(model, "class_head"))
    assert {"loss", "AP", "box"} <= set(metrics) and '"val_AP"' in (home / "stage2" / "log.jsonl").read_text()
    assert not (home / "best.keras").exists()


def test_a_solver_that_is_done_is_skipped_and_a_cut_one_finds_its_features(solved, dataset, capsys):
    home, stages, _ = solved
    file, before = home / "stage2" / "cache" / "pooled.npz", load(home).get_weights()
    written = file.stat().st_mtime_ns

    def again():
        training.fit(Regressed(), dataset, None, home, stages=stages, resume=True, **SETTINGS)
        return capsys.readouterr().out

    assert "stage 2 of 2 is done" in (out := again()) and "solving" not in out
    (home / "stage2" / "done").unlink()
    assert "stage 1 of 2 is done" in (out := again()) and "solving" in out
    assert file.stat().st_mtime_ns == written
    for a, b in zip(before, load(home).get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_an_export_holds_what_a_solver_fitted(solved, dataset, tmp_path):
    model = load(solved[0])
    model.export(tmp_path / "saved")
    pixels = dataset.records[0].image
    expected, found = (one.detect(pixels, above=0.0) for one in (model, load(tmp_path / "saved")))
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    np.testing.assert_allclose(expected["boxes"][0], dataset.records[0].boxes[0], atol=8)


def test_wrong_solvers_are_refused_before_the_first_stage(dataset, tmp_path):
    for make, stage, line in (
        (Regressed, {"solver": "svm"}, r"stage 2: Regressed has no solver 'svm'; its solvers are \('ridge',\)"),
        (micro.make, {"solver": "ridge"}, "stage 2: Micro has no solver 'ridge'; it has none"),
        (Regressed, {"solver": "ridge", "steps": 3}, "stage 2: Regressed's solver 'ridge': .*argument 'steps'"),
        (Regressed, {"solver": "ridge", "proposals": "stage2"}, "stage 2: proposals must be of one of .*'stage1'"),
    ):
        with pytest.raises(ValueError, match=line):
            training.fit(make(), dataset, None, tmp_path, stages=({"steps": 3}, stage), **SETTINGS)
    assert not any(tmp_path.iterdir())


def test_a_solver_whose_weights_are_not_finite_saves_nothing(dataset, tmp_path):
    stages = ({"solver": "ridge", "strength": np.nan},)
    with pytest.raises(FloatingPointError, match="the solver 'ridge' left the weight .*kernel not finite"):
        training.fit(Regressed(), dataset, None, tmp_path, stages=stages, **SETTINGS)
    assert not (tmp_path / "stage1" / "model.keras").exists()
