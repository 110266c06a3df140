"""`fit` on a handful of generated pictures: log, run folder, resume and the guard."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from kerasdet import data, runs, training
from kerasdet.detectors import RetinaNet

SETTINGS = {"batch_size": 2, "learning_rate": 0.01, "warmup": 2, "evaluate_every": 3, "ema": 0.9}


@pytest.fixture(scope="module")
def dataset():
    shapes = data.read("shapes", "val")
    return data.Dataset("few shapes", shapes.classes, shapes.records[:4], keypoints=shapes.keypoints)


def make(dataset):
    keras.utils.set_random_seed(0)
    return RetinaNet(**{**RetinaNet.tiny(), "classes": list(dataset.classes), "resize": ("stretch", 64, 64)})


def test_run_folder_is_the_model(dataset, tmp_path):
    model = make(dataset)
    metrics = training.fit(model, dataset, dataset, tmp_path, steps=6, **SETTINGS)
    assert {"loss", "class", "box", "AP", "AP50"} <= set(metrics)
    assert metrics["loss"] == pytest.approx(metrics["class"] + metrics["box"])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log if "val_AP" in row] == [3, 6]
    saved = runs.load(tmp_path)
    for a, b in zip(saved.variables, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_resume_goes_on_where_the_run_was_cut(dataset, tmp_path):
    """Constant rate, so that a run of 3 steps is the first half of a run of 6."""
    settings = {**SETTINGS, "warmup": 0, "drops": (100,)}
    whole, cut, resumed = make(dataset), make(dataset), make(dataset)
    training.fit(whole, dataset, None, tmp_path / "whole", steps=6, **settings)
    training.fit(cut, dataset, None, tmp_path / "cut", steps=3, **settings)
    training.fit(resumed, dataset, None, tmp_path / "cut", steps=6, resume=True, **settings)
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(dataset, tmp_path):
    model = make(dataset)
    model.class_head.predictor.bias.assign(model.class_head.predictor.bias * np.nan)
    with pytest.raises(FloatingPointError, match="loss term 'class' is nan at step 1"):
        training.fit(model, dataset, None, tmp_path, steps=3, **SETTINGS)


def test_a_broken_picture_is_named(dataset, tmp_path):
    """Cut off in its middle, so that only decoding finds out."""
    whole = tmp_path / "whole.jpg"
    keras.utils.save_img(whole, dataset.records[0].image)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(whole.read_bytes()[:2000])
    record = dataset.records[0]
    records = [dataclasses.replace(record, id=i, image=str(path)) for i, path in enumerate((whole, broken))]
    photos = data.Dataset("photos", dataset.classes, records, keypoints=dataset.keypoints)
    with pytest.raises(ValueError, match="broken.jpg: cannot be decoded as an image") as error:
        training.fit(make(dataset), photos, None, tmp_path / "run", steps=3, **SETTINGS)
    assert "\n" not in str(error.value)
