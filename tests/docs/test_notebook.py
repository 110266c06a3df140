"""docs/notebook.ipynb runs from top to bottom in a process of its own, as a reader runs it, on a smaller network."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

# Stands in the place of the notebook's settings: a preset instead of a download, and a recipe that trains at once.
SMALL = """
from kerasdet.configs.retinanet import own_data
from kerasdet.detectors import MaskRCNN

MaskRCNN(**MaskRCNN.tiny()).save_preset("preset")
own_data.SMALL.update(backbone={"name": "resnet10", "width": 32}, backbone_weights=None, width=32, depth=1)
MODEL, PICTURE, PHOTOS, SIZE, STEPS = "preset", None, None, 96, 4
"""
# CenterNet's authors gave no plain address: as without a network, it can be had from no server.
NOWHERE = 'MODEL, PICTURE, PHOTOS, SIZE, STEPS = "centernet_dla34_2x_coco", None, None, 96, 4'


def run(folder, settings, cells):
    """Runs cells after one of settings; returns what they print, and the repr of each that ends in an expression."""
    program = f"""
import ast
names = {{}}
for text in {[settings, *cells]!r}:
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    shown = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    if shown is not None:
        print(shown)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "KERASDET_CACHE": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


def sources():
    """The text of the cells of code, without the one of settings."""
    settings, *others = CODE
    assert settings["metadata"]["tags"] == ["parameters"]
    return ["".join(cell["source"]) for cell in others]


@pytest.mark.slow
def test_the_class_runs(tmp_path):
    said = run(tmp_path, SMALL, sources())
    assert "MaskRCNN knows" in said and "50 photos of circle, crescent" in said and "nothing is wrong" in said
    assert re.search(r"^\d\d photos to train on, \d+ to validate$", said, re.M)
    assert re.search(r"^AP \d\.\d{3}, AP50 \d\.\d{3}, best threshold \d\.\d\d$", said, re.M)
    assert float(re.search(r"largest difference in pixels: ([\d.]+)", said)[1]) <= 0.1
    assert (tmp_path / "runs/class/evaluation/report.html").is_file()
    assert said.count("<PIL.Image.Image") == 3


def test_without_a_detector_it_says_so(tmp_path):
    """The first part, to the picture that is drawn."""
    cells = sources()
    end = next(number for number, text in enumerate(cells) if "draw.truth" in text)
    said = run(tmp_path, NOWHERE, cells[: end + 1])
    assert "centernet_dla34_2x_coco: no server gives the file plainly" in said
    assert said.index("annotations, not detections") < said.index("<PIL.Image.Image image mode=RGB size=256x256")


def test_what_is_committed_is_small_and_names_no_machine():
    text = json.dumps(NOTEBOOK)
    assert len(text) < 400_000
    assert not re.search(r"/(home|root|tmp|work|usr|Users)/", text)
    for cell in CODE:
        kept = cell["outputs"]
        assert all(one["output_type"] != "error" and one.get("name") != "stderr" for one in kept)
        assert not any("image/png" in one.get("data", ()) for one in kept), "pictures are kept as JPEG"
