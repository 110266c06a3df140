"""Runs the commands of docs/own-data.md, as they stand there, on a bare folder of photos with XML files."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from kerasdet import data
from kerasdet.detectors import ssd
from kerasdet.load import load
from tests import companion

ROOT = pathlib.Path(__file__).parents[2]
# What makes the documented run short; nothing else is changed.
SHORT = {
    "train": (
        f"--config={ROOT}/configs/retinanet/own_data.py --weights=none --config.model.backbone=resnet10 "
        "--config.model.width=32 --config.model.depth=1 --config.model.resize=('shorter',96,128) --steps=4 "
        "--config.train.evaluate_every=2 --config.train.batch_size=2"
    ),
}


def commands():
    """The command lines of the page's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "own-data.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


def run(folder, *arguments):
    """Runs the console command as an installed user would, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "kerasdet", *arguments], cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "2", "KERASDET_CACHE": str(folder / "cache")},
    )  # fmt: skip


def quick(folder, *arguments):
    """The same without the seconds of importing TensorFlow."""
    return companion.command(*arguments, folder=folder, KERASDET_CACHE=str(folder / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`photos` as a labeling tool leaves it: JPEG files with XML files beside them, no lists; one without objects."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "photos").mkdir()
    shapes = data.read("shapes", "val")
    for record in shapes.records[:10]:
        Image.fromarray(record.image).save(folder / "photos" / f"{record.id}.jpg", quality=95)
        objects = "" if record.id == shapes.records[0].id else "".join(
            f"<object><name>{shapes.classes[kind]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for kind, (x1, y1, x2, y2) in zip(record.classes, record.boxes.round().astype(int), strict=True)
        )  # fmt: skip
        size = f"<size><width>{record.width}</width><height>{record.height}</height><depth>3</depth></size>"
        (folder / "photos" / f"{record.id}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    return folder


def test_the_documented_commands_run(folder):
    lines = [shlex.split(line) for line in commands()]
    tools = ("check", "train", "evaluate", "predict", "export")
    assert [line[:2] for line in lines] == [["kerasdet", name] for name in tools]
    for _, name, *arguments in lines:
        done = (run if name == "check" else quick)(folder, name, *arguments, *SHORT.get(name, "").split())
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert len(list((folder / "runs" / "look").glob("*.png"))) == 10
    assert "report.html" in os.listdir(folder / "runs" / "look")
    assert "report.html" in os.listdir(folder / "runs" / "mine" / "evaluation")
    mine = folder / "runs" / "mine"
    train, validation = json.loads((mine / "split.json").read_text())
    assert 1 <= len(validation) <= 4 and sorted(train + validation) == sorted(
        p.name for p in folder.glob("photos/*.jpg")
    )
    metrics = json.loads((mine / "evaluation" / "metrics.json").read_text())
    assert {"AP", "AP50", "loss", "class", "box", "per_class", "threshold"} <= set(metrics) and metrics[
        "images"
    ] == len(validation)
    assert len(list((mine / "evaluation" / "worst").glob("*.png"))) == len(validation)
    assert len(list((folder / "runs" / "seen").glob("*.png"))) == 10
    assert (mine / "saved_model" / "1" / "saved_model.pb").is_file()


@pytest.fixture(scope="module")
def preset(folder):
    """What `ssd_mobilenet` starts from, with random weights: the network of the release, which knows one class here."""
    model = ssd.SSD(**{**ssd.mobilenet_v1(0.75), "extra_norm": None, "classes": ["circle", "zebra"]})
    model.save_preset(folder / "preset")
    return folder / "preset"


RANDOM = [pytest.param(model, "none", marks=pytest.mark.slow) for model in ("faster_rcnn", "ssdlite")]


@pytest.mark.parametrize("model, start", [("ssd_mobilenet", "preset"), *RANDOM])
def test_the_other_recipes_run(folder, preset, model, start):
    short = ("--size=96", "--batch_size=2", "--steps=2", f"--out={folder}/{model}", "--config.train.warmup=3")
    done = quick(folder, "train", "photos", f"--model={model}", f"--weights={start}", *short)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    if start == "preset":
        assert "the detector starts from preset" in done.stdout
        counts = re.search(r"weights of preset: (.*)", done.stdout)[1]
        assert "12 by class name" in counts and "other shape" not in counts and "not in the source" not in counts
    else:
        assert "the backbone starts from random numbers" in done.stdout
    assert json.loads((folder / model / "config.json").read_text())["train"]["warmup"] == 3
    (line,) = re.findall(r"^step 2: .*", done.stdout, re.MULTILINE)
    assert re.fullmatch(r"step 2: val_loss \S+  val_AP \S+  val_AP50 \S+", line)
    row = json.loads((folder / model / "log.jsonl").read_text().splitlines()[-1])
    assert {"val_AP75", "val_APs", "val_threshold"} <= set(row)
    detector = load(folder / model)
    assert detector.resize == (("shorter", 96, 128) if model == "faster_rcnn" else ("squeeze", 96, 96))
    assert set(detector.classes) <= set(data.read("shapes", "val").classes)
    assert json.loads((folder / model / "log.jsonl").read_text().splitlines()[-1])["step"] == 2


def test_a_spoiled_folder_is_named(folder, tmp_path):
    """Every fault in one go, and an exit code that a script can ask for."""
    shutil.copytree(folder / "photos", tmp_path / "photos")
    one, two, *_ = sorted((tmp_path / "photos").glob("*.jpg"))
    one.write_bytes(b"")
    page = two.with_suffix(".xml")
    page.write_text(re.sub(r"<xmax>\d+</xmax>", "<xmax>much</xmax>", page.read_text(), count=1))
    done = quick(tmp_path, "check", "photos", f"--out={tmp_path}/look")
    assert done.returncode == 1
    assert one.name in done.stdout and page.name in done.stdout and "much" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_misspelled_key_names_the_right_one(folder):
    done = subprocess.run(
        [sys.executable, "-m", "tools.train", "--config=configs/retinanet/own_data.py", "--config.train.minute=5"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: there is no flag --config.train.minute; did you mean minutes for minute?\n"


def test_a_missing_folder_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.predict", "--model=nothing", f"--images={tmp_path}/none.jpg"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path}/none.jpg: no image file there."
    assert "Traceback" not in done.stderr
