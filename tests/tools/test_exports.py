"""The commands that export, score and compare exported files, on a run whose detector learned four pictures."""

import json
import re

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from kerasdet import data, runs
from kerasdet.data import pipeline
from kerasdet.detectors import SSD
from kerasdet.export.load import Lite
from kerasdet.load import load
from tests import companion

COUNT, SIDE = 12, 96
SIZE = f"--size={SIDE},{SIDE}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with its photos in it, by a table of boxes; they have the network's size, so nothing is rounded."""
    folder = tmp_path_factory.mktemp("run")
    shapes, lines = data.read("shapes", "val"), ["image,x1,y1,x2,y2,class"]
    for record in shapes.records[:COUNT]:
        scale = SIDE / np.tile([record.width, record.height], 2)
        Image.fromarray(record.image).resize((SIDE, SIDE)).save(folder / f"{record.id}.png")
        for kind, box in zip(record.classes, record.boxes * scale, strict=True):
            lines.append(",".join([f"{record.id}.png", *(f"{side:.2f}" for side in box), shapes.classes[kind]]))
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    source = {"path": str(folder / "boxes.csv"), "format": "xyxy"}
    dataset = data.read(**source)
    keras.utils.set_random_seed(0)
    model = SSD(**{**SSD.tiny(), "classes": dataset.classes, "resize": ("squeeze", SIDE, SIDE)})
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    model.fit(pipeline.load(dataset, model.preprocess, 4, training=True), steps_per_epoch=150, verbose=0)
    config = ConfigDict({"name": "some", "data": {"train": source, "validation": source}, "evaluate": {}})
    runs.write_config(folder, config)
    model.save(folder / "model.keras")
    return folder


def tool(name, *arguments):
    return companion.command(name, *arguments)


@pytest.fixture(scope="module")
def file(run):
    done = tool("export", run, "--to=tflite", SIZE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "compared with Keras on 8 pictures" in done.stdout and "0 missing" in done.stdout
    return run / "float32.tflite"


def test_evaluate_scores_a_file_like_its_run(run, file):
    found = []
    for path in (run, file):
        done = tool("evaluate", path, "--worst=0")
        assert done.returncode == 0, done.stderr[-3000:]
        written = re.search("written to (.*)", done.stdout)[1]
        results, metrics = (json.load(open(f"{written}/{name}.json")) for name in ("results", "metrics"))
        found.append((sorted(one["score"] for one in results), metrics))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-4)
    assert found[0][1]["AP"] == pytest.approx(found[1][1]["AP"], abs=1e-3) and found[0][1]["AP50"] > 0.1


def test_evaluate_in_another_precision(run, file):
    for more in ((), ("--dtype=mixed_bfloat16",)):
        done = tool("evaluate", run, "--worst=0", *more)
        assert done.returncode == 0, done.stderr[-3000:]
    scores = sorted(
        one["score"] for one in json.loads((run / "evaluation-mixed_bfloat16" / "results.json").read_text())
    )
    exact = sorted(one["score"] for one in json.loads((run / "evaluation" / "results.json").read_text()))
    assert scores != exact and np.allclose(scores[-10:], exact[-10:], atol=0.05)
    for flag in ("--dtype=float32", "--nms=soft"):
        done = tool("evaluate", file, flag)
        assert done.returncode == 1 and f"{flag.partition('=')[0]} is for Keras models" in done.stderr


def test_evaluate_with_another_suppression(run):
    done = tool("evaluate", run, "--worst=0", "--nms={name: soft, sigma: 0.3, floor: 0.04}")
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((run / "evaluation-soft" / "metrics.json").read_text())
    scores = [one["score"] for one in json.loads((run / "evaluation-soft" / "results.json").read_text())]
    assert 0 <= metrics["AP90"] <= metrics["AP75"] <= metrics["AP50"] and 0.04 <= min(scores) < 0.05
    done = tool("evaluate", run, "--nms=softest")
    assert done.returncode == 1 and "nms must be one of" in done.stderr


def test_predict_draws_by_a_file(run, file, tmp_path):
    done = tool("predict", file, run / "*.png", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("*.png"))) == COUNT


def test_a_file_that_loses_too_much_is_refused(run):
    """No file may be refused for nothing, so this one is asked to gain what nothing can; an older one stays."""
    (run / "bad.tflite").write_text("older")
    done = tool("export", run, "--to=tflite", SIZE, "--kind=int8", "--max_ap_drop=-101", f"--out={run}/bad.tflite")
    assert done.returncode == 1 and (run / "bad.tflite").read_text() == "older"
    assert not list(run.glob("writing*"))
    assert re.search(r"error: the file is refused: AP 0\.\d+ became 0\.\d+, .* points less", done.stderr)
    assert re.search(r"Errors in steps of 8 bits: \S+ \d", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_good_file_is_kept(run):
    done = tool("export", run, "--to=tflite", SIZE, "--kind=float16", "--max_ap_drop=5", f"--out={run}/half.tflite")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "half.tflite").exists() and re.search(
        r"AP \S+ AP50 \S+ of Keras, AP \S+ AP50 \S+ of the file", done.stdout
    )


@pytest.mark.parametrize("flags, words", [
    (["--kind=int8"], "--kind is for TFLite files: give --to=tflite"),
    (["--max_ap_drop=1"], "--max_ap_drop is for TFLite files"),
    (["--to=tflite", "--raw", "--max_ap_drop=1"], "--max_ap_drop scores detections"),
    (["--to=tflite", "--size=320"], r"size must be height and width in pixels, got \(320,\)"),
])  # fmt: skip
def test_flags_that_do_not_fit_are_refused(run, flags, words):
    before = sorted(run.iterdir())
    done = tool("export", run, *flags)
    assert done.returncode == 1 and re.search(words, done.stderr) and "Traceback" not in done.stderr
    assert sorted(run.iterdir()) == before


def test_raw_outputs_are_those_of_the_network(run):
    done = tool("export", run, "--to=tflite", SIZE, "--raw")
    assert done.returncode == 0, done.stderr[-3000:]
    file = run / "raw-float32.tflite"
    model, lite = load(run), Lite(file)
    pixels = np.asarray(Image.open(next(run.glob("*.png"))))[None]
    said = lite(pixels)
    wanted = model.raw(model.network({**model.preprocess(pixels), "ids": np.zeros([1], np.int64)}))
    assert set(said) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(said[name], value, rtol=1e-3, atol=1e-3)
    done = tool("evaluate", file)
    assert done.returncode == 1 and "it was exported with raw" in done.stderr


def test_compare_exports(run):
    done = tool("compare_exports", run, SIZE, "--kinds=float32,int8", "--rounds=1")
    assert done.returncode == 0, done.stderr[-3000:]
    scores = dict(re.findall(r"^  (\S.*?) +AP (\S+)  AP50", done.stdout, re.M))
    assert set(scores) == {"Keras", "SavedModel", "TFLite float32", "TFLite int8"}
    assert abs(float(scores["Keras"]) - float(scores["TFLite float32"])) < 2e-3
    assert abs(float(scores["Keras"]) - float(scores["TFLite int8"])) < 0.05
    for part in ("reading the file", "resizing", "SavedModel raw", "TFLite int8 whole, 2 threads"):
        assert part in done.stdout
