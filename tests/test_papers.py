"""`docs/papers.md` and `PAPERS`: the page shows all systems; each is built, counted and run."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import DETECTORS, PAPERS
from tests.contract import scenes

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "papers.md"
# What one system of the page shows: its title, and the block of code that makes it.
SHOWN = dict(re.findall(r"^### (.+?)\n.*?^```python\n(.+?)^```", PAGE.read_text(), re.M | re.S))


def kind_of(name):
    """The class of a system, if it is built."""
    kind, arguments = PAPERS[name]
    if kind not in DETECTORS:
        pytest.skip(f"{kind} is not in DETECTORS yet")
    return DETECTORS[kind], arguments


def made(code):
    """What a block of the page makes."""
    names = {}
    exec(code, names)  # noqa: S102
    return names["model"]


def count_of(code):
    return int(re.search(r"# ([\d,]+) weights$", code.strip()).group(1).replace(",", ""))


def test_the_page_shows_all_systems_in_order():
    assert list(SHOWN) == list(PAPERS) and len(PAPERS) == 26
    for name, code in SHOWN.items():
        assert len([line for line in code.splitlines() if line.strip()]) <= 3, name
        assert re.search(rf"= {PAPERS[name][0]}\(", code), name


def test_every_detector_belongs_to_a_paper():
    """But for the one that runs any cfg of darknet."""
    assert set(DETECTORS) - {kind for kind, _ in PAPERS.values()} == {"Darknet"}


@pytest.mark.parametrize("name", PAPERS)
def test_small_forms_run(name):
    """With the paper's arguments, on a network of `tiny()`: a picture of noise gives a loss and detections."""
    kind, arguments = kind_of(name)
    keras.utils.set_random_seed(0)
    small = {**arguments, **kind.tiny(), **{key: arguments[key] for key in ("nms", "masks") if key in arguments}}
    if isinstance(arguments.get("backbone"), str) and arguments["backbone"].startswith("hourglass"):
        small["backbone"] = {**small["backbone"], "name": arguments["backbone"]}
    model = kind(**small)
    images, objects = scenes.batch([(20, 30, 70, 75, 1)], proposals=model.needs_proposals, size=scenes.size(model))
    terms = model.loss_terms(model.network(images), objects, images)
    assert set(terms) == set(model.terms) and np.isfinite([float(value) for value in terms.values()]).all()
    found = model(images)
    assert found["boxes"].shape[-1] == 4 and found["scores"].dtype == tf.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_whole_models_by_the_page(name):
    """Built as the page says, which runs a small black picture through it, then counted, then run on noise."""
    kind_of(name)
    model = made(SHOWN[name])
    assert model.count_params() == count_of(SHOWN[name])
    arguments = {key: value for key, value in model.get_config().items() if key in PAPERS[name][1]}
    assert keras.tree.map_structure(str, arguments) == keras.tree.map_structure(
        str, {key: type(arguments[key])(value) for key, value in PAPERS[name][1].items()}
    )
    images = model.example()
    images["pixels"] = tf.random.stateless_uniform(images["pixels"].shape, [1, 2], 0.0, 255.0)
    found = model(images)
    assert np.isfinite(found["boxes"].numpy()).all() and (found["scores"].numpy() <= 1).all()
