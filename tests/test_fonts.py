"""Names in any script: which font draws them, and what is said if there is none."""

import os
import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from kerasdet import draw, fonts
from kerasdet.evaluation import coco, plots
from tests.evaluation.test_plots import found, truth


@pytest.fixture(autouse=True)
def fresh():
    for function in (fonts._path, fonts._other, fonts._warn):
        function.cache_clear()


@pytest.fixture
def bare(monkeypatch):
    """A machine without any font but matplotlib's."""
    monkeypatch.setattr(font_manager, "findSystemFonts", list)


@pytest.mark.parametrize("name", ["cat", "Größe ěščř", "кошка", "γάτα", "قطة", "pièce €", "naïve Œuvre"])
def test_dejavu_has_latin_greek_cyrillic_and_arabic(name, recwarn):
    assert fonts.font(name, 20).path.endswith("DejaVuSans.ttf") and not recwarn


def test_another_font_has_the_rest(bare, recwarn):
    """A sign that DejaVu lacks, and STIX has, which matplotlib brings too."""
    chosen = fonts.font("a \u2a6e", 20)
    assert os.path.basename(chosen.path) == "STIXGeneral.ttf" and not recwarn
    assert fonts.families(["cat", "a \u2a6e"]) == ["DejaVu Sans", "STIXGeneral"]


def test_a_script_without_font_is_named_once(bare):
    with pytest.warns(UserWarning, match="no font on this machine has '猫'.*install one, such as Noto Sans CJK"):
        chosen = fonts.font("猫 0.87", 20)
    assert chosen.path.endswith("DejaVuSans.ttf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fonts.font("猫 0.91", 20)


def test_names_of_the_same_length_are_told_apart():
    """Drawn names differ by their letters; without the letters in the font they would all be the same frames."""
    drawn = {
        name: np.asarray(draw.boxes(Image.new("RGB", (300, 200)), [[20, 60, 280, 190]], [0], [name])).tobytes()
        for name in ("дом", "кот", "нос")
    }
    assert len(set(drawn.values())) == 3


def test_plots_take_any_name(tmp_path):
    """Dollars are no formulas, and an underscore hides no name."""
    api = truth([(1, 0, 0, 0), (1, 1, 100, 0)])
    api.cats[10]["name"], api.cats[11]["name"] = "$a$ {b}_^", "_кот"
    results = found((1, 0, 0, 0.9), (1, 1, 100, 0.8))
    plots.precision_recall(coco.evaluate(api, results), tmp_path / "curves.png")
    plots.confusion_matrix(api, results, tmp_path / "confusion.png")
    named = _ink(tmp_path / "curves.png")
    api.cats[11]["name"] = "_ "
    plots.precision_recall(coco.evaluate(api, results), tmp_path / "curves.png")
    assert named > _ink(tmp_path / "curves.png")


def _ink(path):
    """Dark pixels of the legend."""
    return (np.asarray(Image.open(path).convert("L"))[:, 800:] < 128).sum()
