"""Every Python snippet of the documentation runs, page by page, among small stand-ins for what a reader has.

The blocks of a page share their names, as a reader types them in order. Detectors are large and trainings long, so:

- A detector is constructed with the arguments that are shown, but without weights. One that is used afterwards is then
  replaced by a small form of it.
- `training.fit`, `from_preset` and `export` check their arguments, and do no more.
- A block that begins with a key, such as `"stages": (…)`, is a part of a config: its keys are arguments of `fit`.
"""

import ast
import contextlib
import inspect

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdet import data, training
from kerasdet.backbones import pretrained
from kerasdet.data import shapes, transforms
from kerasdet.detectors import DETECTORS, RCNN, RetinaNet, complete, saving
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.export import tflite
from kerasdet.training import stages
from kerasdet.weights import imagenet, presets
from kerasdet.weights.zoo import RELEASED
from tests.docs.pages import PAGES, blocks, name

# Pages whose snippets a test of their own runs.
ELSEWHERE = {"docs/add-a-detector.md": "tests/detectors/test_skeleton.py", "docs/papers.md": "tests/test_papers.py"}
CFG = """[net]
height=64
width=64
channels=3

[convolutional]
filters=21
size=1
stride=32
activation=linear

[yolo]
mask=0,1,2
anchors=10,10,20,20,40,40
classes=2
num=3
"""
FIT = inspect.signature(training.fit).parameters


@pytest.fixture(scope="module")
def photos():
    """Eight drawn pictures."""
    return data.Dataset("photos", shapes.CLASSES, [shapes.picture("val", index) for index in range(8)])


@pytest.fixture(scope="module")
def model():
    return RetinaNet(**RetinaNet.tiny())


@pytest.fixture
def desk(photos, model, tmp_path, monkeypatch):
    """The names that a reader has at hand, in a folder with photos."""
    monkeypatch.chdir(tmp_path)
    for file in ("new.jpg", "photo.jpg"):
        Image.fromarray(photos.records[0].image).save(file)
    monkeypatch.setattr(data, "read", _checked(data.read, photos))
    monkeypatch.setattr(training, "fit", _checked(training.fit))
    monkeypatch.setattr(saving.Saves, "export", _checked(saving.Saves.export))
    monkeypatch.setattr(saving.Saves, "from_preset", classmethod(_from_preset))
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    return {
        "classes": ["dog", "leash"], "text": CFG, "train": photos, "val": photos, "model": model, "training": training,
        "pyramid": [tf.zeros([1, side, side, 8]) for side in (64, 32, 16, 8)],
        "rois": tf.constant([[0, 0, 0, 200, 200.0]]),
    }  # fmt: skip


def _checked(function, answer=None):
    """A stand-in that takes the same arguments."""

    def stand_in(*values, **named):
        inspect.signature(function).bind(*values, **named)
        return answer

    return stand_in


def _from_preset(cls, preset, classes=None, names=None, **arguments):
    """In the place of a released model: a small RetinaNet of the same classes."""
    assert preset in RELEASED or preset.endswith(presets.FILES) or preset.startswith("presets/"), preset
    kinds = [DETECTORS[RELEASED[preset].detector]] if preset in RELEASED else DETECTORS.values()
    assert all(any(kind.takes(argument) for kind in kinds) for argument in arguments), arguments
    return RetinaNet(**{**RetinaNet.tiny(), "classes": classes or names or ["dog", "leash"]})


@contextlib.contextmanager
def without_weights():
    """Detectors are constructed but not run, so that they make no weights, and load none."""
    network = pretrained.network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete, "_run_once", lambda model: None)
        patch.setattr(imagenet, "load", lambda layer, source: None)
        patch.setattr(pretrained, "network", lambda kind, weights, **options: network(kind, None, **options))
        yield


def run(code, names):
    """Runs the code of a page, statement by statement."""
    body = ast.parse(code).body
    for number, statement in enumerate(body):
        with without_weights():
            exec(compile(ast.Module([statement], []), "snippet", "exec"), names)
        used = _names(body[number + 1 :], ast.Load)
        for key in _names([statement], ast.Store) & used:
            kind = type(names[key])
            if kind in DETECTORS.values():
                names[key] = kind(**{**kind.tiny(), "classes": names[key].classes})


def _names(statements, context):
    """Names that are read or set."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def check_config(part):
    """Whether `fit` takes a part of a config."""
    assert set(part) <= set(FIT), part
    inspect.signature(Evaluator).bind("model", "dataset", **part.get("evaluate", {}))
    for kind, *settings in part.get("transforms", ()):
        inspect.signature(transforms.TRANSFORMS[kind]).bind("sample", "seed", *settings)
    for stage in part.get("stages", ()):
        options = {key: value for key, value in stage.items() if key not in stages.OF_SOLVERS}
        if "solver" in stage:
            inspect.signature(getattr(RCNN, f"solve_{stage['solver']}")).bind("self", "train", "cached", **options)
        else:
            assert set(stage) <= {*FIT, "proposals"}, stage


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_snippets_of_a_page_run(page, desk):
    if name(page) in ELSEWHERE:
        assert page.name in (page.parents[1] / ELSEWHERE[name(page)]).read_text()
        return
    snippets = blocks(page, "python")
    for part in (one for one in snippets if one.startswith('"')):
        check_config(ast.literal_eval(f"{{{part}}}"))
    code = "\n".join(one for one in snippets if not one.startswith('"'))
    if "float32.tflite" in code:
        pytest.importorskip("ai_edge_litert")
        tflite.write(desk["model"], "float32.tflite", size=(96, 96))
        desk["pixels"] = np.zeros([96, 96, 3], np.uint8)
    run(code, desk)


def test_a_snippet_that_does_not_run_is_found(desk):
    """The test itself."""
    for code in ("SSD(classes, scale=3)", "model.detekt('new.jpg')", "training.fit(model, train, minuets=3)"):
        with pytest.raises((TypeError, AttributeError)):
            run(f"from kerasdet.detectors import SSD\n{code}", dict(desk))
    for part in ({"stages": ({"stepz": 5},)}, {"transforms": (("flop",),)}, {"evaluate": {"most": 5}}):
        with pytest.raises((AssertionError, TypeError, KeyError)):
            check_config(part)
