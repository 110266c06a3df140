"""Stages that share parts and proposals: the four steps of Faster R-CNN, on a detector of two small heads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import images as image
from kerasdet import runs, training
from kerasdet.data import proposals
from kerasdet.training import start
from kerasdet.training.cache import propose
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
    model = model if isinstance(model, Two) else runs.load(model)
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
    model = runs.load(run / stage)
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
    np.testing.assert_array_equal(model.backbone[0].kernel, runs.load(run / "stage2").backbone[0].kernel)
    np.testing.assert_array_equal(model.backbone[1].kernel, make().backbone[1].kernel)
    assert done["box_head/kernel"] == start.LOADED and done["class_head/kernel"] == start.MISSING
    assert start.table(done, {"box_head/*": "a"}).startswith("weights of a for box_head/*: ")
    with pytest.raises(ValueError, match="init_from: 'neck/.' matches no weight of the model"):
        start.load(model, {"neck/*": run / "stage1"})


def test_wrong_stages(dataset, tmp_path):
    for number, name in ((1, "stage1"), (2, "stage2"), (2, "proposals.npz")):
        stages = ({"steps": 3},) * (number - 1) + ({"proposals": name},)
        with pytest.raises(ValueError, match=f"stage {number}: proposals must be of one of .*, got '{name}'"):
            training.fit(make(), dataset, None, tmp_path, stages=stages, **SETTINGS)
    with pytest.raises(ValueError, match="Micro proposes no regions"):
        propose(micro.make(), dataset, tmp_path / "none.npz")
