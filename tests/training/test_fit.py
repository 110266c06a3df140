"""`fit` on a handful of generated pictures: the run folder, the guard, and what its arguments do."""

import dataclasses
import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data, training
from kerasdet.load import load
from tests.training import micro

SETTINGS = {
    "batch_size": 4, "learning_rate": 0.05, "optimizer": "sgd", "warmup": 0, "drops": (100,), "ema": None,
    "evaluate_every": 3, "transforms": (),
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
    return micro.photos()


def rows(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def same(a, b, **tolerance):
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_allclose(x, y, **(tolerance or {"rtol": 0, "atol": 0}))


class Each(keras.callbacks.Callback):
    """Calls a function after every step."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_train_batch_end(self, batch, logs=None):
        self.function(self.model)


def test_run_folder_is_the_model(dataset, tmp_path):
    """Pictures in two rounds, evaluated with averaged weights; the best model lies beside the last."""
    model = micro.make()
    metrics = training.fit(model, dataset, dataset, tmp_path, steps=6, **{**SETTINGS, "ema": 0.9})
    assert {"loss", "class", "box", "AP", "AP50"} <= set(metrics)
    assert metrics["loss"] == pytest.approx(metrics["class"] + metrics["box"])
    assert [row["step"] for row in rows(tmp_path) if "val_AP" in row] == [3, 6]
    average = model.optimizer._model_variables_moving_average
    for saved, mean in zip(load(tmp_path).trainable_variables, average, strict=True):
        np.testing.assert_array_equal(saved, mean)
    assert (tmp_path / "best.keras").is_file()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000000003.npz", "000000006.npz"]


def test_a_loss_that_is_not_finite_names_the_images_and_saves_the_batch(dataset, tmp_path):
    seen = []

    def spoil(model):
        seen.append(model.batch[0]["ids"].numpy())
        if len(seen) == 4:
            model.class_head.kernel.assign(model.class_head.kernel * np.nan)

    line = r"loss term 'class' is nan at step 5, images \[.*nonfinite.npz"
    with pytest.raises(FloatingPointError, match=line) as error:
        training.fit(micro.make(), dataset, None, tmp_path, steps=9, callbacks=[Each(spoil)], **SETTINGS)
    with np.load(tmp_path / "nonfinite.npz") as saved:
        assert str([int(i) for i in saved["images/ids"]]) in str(error.value)
        first = int(saved["images/ids"][0]) - 100
        np.testing.assert_array_equal(saved["images/pixels"][0], dataset.records[first].image)
        np.testing.assert_array_equal(saved["objects/boxes"][0, 0], dataset.records[first].boxes[0])
    assert all(np.isfinite(v).all() for v in load(tmp_path).weights)  # of step 3
    assert len(seen) == 4


def test_weights_that_are_not_finite_are_not_saved(dataset, tmp_path):
    """The loss of the round's last step is still finite; its update is not."""

    def spoil(model):
        if int(model.optimizer.iterations) == 6:
            model.box_head.kernel.assign(model.box_head.kernel * np.inf)

    with pytest.raises(FloatingPointError, match="weight .*kernel is not finite at step 6"):
        training.fit(micro.make(), dataset, None, tmp_path, steps=9, callbacks=[Each(spoil)], **SETTINGS)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["000000003.npz"]
    assert all(np.isfinite(v).all() for v in load(tmp_path).weights)


def test_a_broken_picture_is_named(dataset, tmp_path):
    """Cut off in its middle, so that only decoding finds out."""
    whole = tmp_path / "whole.jpg"
    keras.utils.save_img(whole, np.random.default_rng(0).integers(0, 255, [64, 64, 3]))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(whole.read_bytes()[:2000])
    record = dataset.records[0]
    records = [dataclasses.replace(record, id=i, image=str(path)) for i, path in enumerate((whole, broken))]
    photos = data.Dataset("photos", dataset.classes, records)
    with pytest.raises(ValueError, match="broken.jpg: cannot be decoded as an image") as error:
        training.fit(micro.make(), photos, None, tmp_path / "run", steps=3, **SETTINGS)
    assert "\n" not in str(error.value)


def test_sigterm_saves_within_the_step_and_resume_goes_on(dataset, tmp_path, capsys):
    """Asked after step 4, in the middle of a round; then as if nothing had happened."""

    def ask(model):
        if int(model.optimizer.iterations) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    whole, cut = micro.make(), micro.make()
    training.fit(whole, dataset, None, tmp_path / "whole", steps=6, **SETTINGS)
    with pytest.raises(SystemExit) as end:
        training.fit(cut, dataset, None, tmp_path / "cut", steps=6, callbacks=[Each(ask)], **SETTINGS)
    assert end.value.code == 0
    assert "saved at step 5 in" in (out := capsys.readouterr().out) and "--resume continues" in out
    resumed = micro.make()
    training.fit(resumed, dataset, None, tmp_path / "cut", steps=6, resume=True, **SETTINGS)
    same(whole, resumed, rtol=0, atol=1e-6)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_batch_in_two_parts_trains_like_the_whole(dataset, tmp_path):
    """The terms are means over images, so that the mean over parts of two is the mean over four."""
    whole, parts = micro.make(), micro.make()
    training.fit(whole, dataset, None, tmp_path / "whole", steps=3, **SETTINGS)
    training.fit(parts, dataset, None, tmp_path / "parts", steps=3, accumulate=2, **SETTINGS)
    same(whole, parts, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 1 replicas times accumulate=3, got 4"):
        training.fit(parts, dataset, None, tmp_path / "parts", steps=3, accumulate=3, **SETTINGS)


def test_only_the_named_terms_count(dataset, tmp_path):
    model, before = micro.make(), micro.make()
    training.fit(model, dataset, None, tmp_path, steps=3, terms=("class",), **SETTINGS)
    np.testing.assert_array_equal(model.box_head.kernel, before.box_head.kernel)  # the decay spares it too
    assert np.abs(model.class_head.kernel.numpy() - before.class_head.kernel.numpy()).max() > 0
    with pytest.raises(ValueError, match=r"terms must be some of \('class', 'box'\), got \('mask',\)"):
        training.fit(model, dataset, None, tmp_path, steps=3, terms=("mask",), **SETTINGS)


def test_biases_decay_if_asked(dataset, tmp_path):
    for biases in (False, True):
        model = micro.make()
        settings = {**SETTINGS, "learning_rate": 0.0, "weight_decay": 0.1, "decay_biases": biases}
        training.fit(model, dataset, None, tmp_path, steps=1, **settings)
        decays = dict(zip([v.name for v in model.trainable_variables], model.optimizer.decays, strict=True))
        assert decays == {"kernel": 0.1, "bias": 0.1 if biases else 0.0}


def test_the_rate_follows_the_batch(dataset, tmp_path, capsys):
    """In proportion for SGD, by the square root for Adam."""
    settings = {**SETTINGS, "learning_rate": 0.02, "warmup": 10, "learning_rate_for": 1, "steps": 1}
    training.fit(micro.make(), dataset, None, tmp_path, **settings)
    assert "batch 1 -> 4: learning rate 0.02 -> 0.08, warm-up 10 -> 40 steps" in capsys.readouterr().out
    training.fit(micro.make(), dataset, None, tmp_path, **{**settings, "optimizer": "adamw"})
    assert "batch 1 -> 4: learning rate 0.02 -> 0.04, warm-up 10 -> 20 steps" in capsys.readouterr().out


def test_patience_ends_a_run_that_gets_no_better(dataset, tmp_path, capsys):
    settings = {**SETTINGS, "learning_rate": 0.0, "evaluate_every": 1}
    training.fit(micro.make(), dataset, dataset, tmp_path, steps=9, patience=2, **settings)
    assert [row["step"] for row in rows(tmp_path) if "val_AP" in row] == [1, 2, 3]
    assert "for 2 rounds: the run ends here" in capsys.readouterr().out


def test_minutes_choose_the_steps_before_the_start(dataset, tmp_path, monkeypatch, capsys):
    """Timing leaves no trace in the weights, the schedule ends at the last step, and a resumed run keeps it."""
    settings = {**SETTINGS, "drops": (), "warmup": 2, "evaluate_every": 2}
    monkeypatch.setattr("kerasdet.training.timing.TIMED", 3)
    monkeypatch.setattr("kerasdet.training.timing.steps_within", limited(8))
    timed, plain = micro.make(), micro.make()
    training.fit(timed, dataset, dataset, tmp_path / "timed", steps=4, minutes=0.5, **settings)
    assert "0.5 minutes: 8 steps of" in capsys.readouterr().out
    training.fit(plain, dataset, None, tmp_path / "plain", steps=8, **{**settings, "warmup": 4})
    same(timed, plain, rtol=0, atol=1e-6)
    training.fit(micro.make(), dataset, None, tmp_path / "timed", steps=4, minutes=99, resume=True, **settings)
    assert "resumed at step 8 of 8" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"minutes=0.0001 is too short: a step takes .* s, an evaluation"):
        monkeypatch.undo()
        training.fit(timed, dataset, None, tmp_path / "timed", minutes=0.0001, **settings)


def limited(steps):
    """The real timing, whose steps are checked and then replaced, so that the test knows them."""
    from kerasdet.training import timing

    real = timing.steps_within

    def measured(*arguments):
        found, step = real(*arguments)
        assert 0 < found * step < 30
        return steps, step

    return measured


def test_stages_run_one_after_another_and_resume_in_the_right_one(dataset, tmp_path, capsys):
    stages = (
        {"steps": 3, "freeze": ("backbone/*",)},
        {"steps": 3, "terms": ("class",), "learning_rate": 0.01},
        {"steps": 3, "init_from": "stage1"},
    )
    model, start = micro.make(), micro.make()
    training.fit(model, dataset, None, tmp_path, stages=stages, **SETTINGS)
    first, second, third = (load(tmp_path / f"stage{i}") for i in (1, 2, 3))
    np.testing.assert_array_equal(first.backbone[0].kernel, start.backbone[0].kernel)
    np.testing.assert_array_equal(second.box_head.kernel, first.box_head.kernel)
    assert np.abs(second.backbone[0].kernel.numpy() - first.backbone[0].kernel.numpy()).max() > 0
    same(load(tmp_path), third)
    # Killed in the third stage: the first two are not run again, and the third starts from the first once more.
    (tmp_path / "stage3" / "done").unlink()
    (tmp_path / "stage3" / "checkpoints" / "000000003.npz").unlink()
    capsys.readouterr()
    again = micro.make()
    training.fit(again, dataset, None, tmp_path, stages=stages, resume=True, **SETTINGS)
    out = capsys.readouterr().out
    assert "stage 2 of 3 is done" in out and "stage 3 of 3\n" in out
    same(again, model, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"stage 1 has unknown keys \['step'\]; it takes"):
        training.fit(model, dataset, None, tmp_path, stages=({"step": 3},), **SETTINGS)


def test_tensorboard_without_its_package_is_one_line(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'kerasdet\[tensorboard\]'"):
        training.fit(micro.make(), dataset, None, tmp_path, steps=3, tensorboard=True, **SETTINGS)


def test_neither_steps_nor_minutes_is_one_line(dataset, tmp_path):
    with pytest.raises(ValueError, match="say how long to train: steps or minutes"):
        training.fit(micro.make(), dataset, None, tmp_path, **SETTINGS)


class Masked(micro.Micro):
    """Learns from masks too, and repeats the mask of a full box with every detection."""

    needs_masks = True

    def loss_terms(self, outputs, objects, images, training=True):
        terms = super().loss_terms(outputs, objects, images, training)
        return {**terms, "box": terms["box"] + 0 * tf.reduce_sum(tf.cast(objects["masks"], tf.float32))}

    def detections(self, outputs, images):
        found = super().detections(outputs, images)
        return {**found, "masks": tf.ones([tf.shape(images["ids"])[0], 1, 28, 28])}


def test_a_model_that_needs_masks_gets_them_and_is_scored_by_them(dataset, tmp_path):
    with pytest.raises(ValueError, match="Masked learns masks, but photos has images without"):
        training.fit(Masked(), dataset, dataset, tmp_path, steps=1, **SETTINGS)
    squares = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in (r.boxes[0].tolist() for r in dataset.records)]
    records = [dataclasses.replace(r, segments=[s]) for r, s in zip(dataset.records, squares, strict=True)]
    whole = dataclasses.replace(dataset, records=records)
    settings = {**SETTINGS, "evaluate": {"max_dets": (1, 100, 300)}}
    metrics = training.fit(Masked(), whole, whole, tmp_path, steps=3, **settings)
    assert {"segm/AP", "segm/AP50@300", "AP50@300"} <= set(metrics)
    assert rows(tmp_path)[-1]["val_segm/AP50@300"] == metrics["segm/AP50@300"]


def test_data_of_other_classes_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match="the model knows the classes .*'dirt'.* but photos has"):
        training.fit(micro.make(), dataclasses.replace(dataset, classes=("a", "b", "c")), run=tmp_path, steps=1)
