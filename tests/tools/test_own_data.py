"""Runs the commands of docs/own-data.md, as they stand there, on a folder of generated photos."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from kerasdet import data
from kerasdet.evaluation import coco

ROOT = pathlib.Path(__file__).parents[2]
# What makes the documented runs short; nothing else is changed.
SHORT = {
    "tools.train": (
        "--config.model.backbone_weights= --config.model.width=32 --config.train.steps=4 "
        "--config.train.evaluate_every=2 --config.train.batch_size=2 --config.model.resize=('shorter',96,128)"
    ),
    "tools.inspect": "--config.model.backbone_weights= --config.model.width=32 --batches=2",
}


def commands():
    """The command lines of the page's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "own-data.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`photos` in COCO's layout: six generated pictures, one of them empty."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "photos" / "images").mkdir(parents=True)
    (folder / "photos" / "annotations").mkdir()
    (folder / "configs").symlink_to(ROOT / "configs")
    shapes = data.read("shapes", "val")
    for split, records in (("train", shapes.records[:4]), ("val", shapes.records[4:6])):
        truth = coco.ground_truth(data.Dataset(split, shapes.classes, records, keypoints=shapes.keypoints)).dataset
        for image, record in zip(truth["images"], records, strict=True):
            image["file_name"] = f"{record.id}.png"
            Image.fromarray(record.image).save(folder / "photos" / "images" / image["file_name"])
        truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] != records[0].id or split == "val"]
        (folder / "photos" / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))
    return folder


def test_the_documented_commands_run(folder):
    lines = commands()
    assert [shlex.split(line)[2] for line in lines] == [
        "tools.inspect",
        "tools.train",
        "tools.evaluate",
        "tools.predict",
    ]
    for line in lines:
        _, _, module, *arguments = shlex.split(line)
        short = SHORT.get(module, "").split()
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments, *short], cwd=folder, capture_output=True, text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((folder / "runs" / "look").glob("*.png"))) == 4
    metrics = json.loads((folder / "runs" / "mine" / "evaluation" / "metrics.json").read_text())
    assert {"AP", "AP50", "loss", "class", "box", "per_class"} <= set(metrics) and metrics["images"] == 2
    assert len(list((folder / "runs" / "mine" / "evaluation").glob("0*.png"))) == 2
    assert len(list((folder / "runs" / "seen").glob("*.png"))) == 6


def test_a_misspelled_key_names_the_right_one(folder):
    done = subprocess.run(
        [sys.executable, "-m", "tools.train", "--config=configs/retinanet/own_data.py", "--config.train.step=5"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert 'Did you mean "steps"' in done.stderr + done.stdout


def test_a_missing_folder_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.predict", "--model=nothing", f"--images={tmp_path}/none.jpg"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path}/none.jpg: no image file there."
    assert "Traceback" not in done.stderr
