"""The site that `make docs` builds: what its pages are made of, and the whole in a browser without a network."""

import os
import re
import subprocess
import sys

import pytest

from kerasdet.weights.zoo import RELEASED
from tests.docs.pages import ROOT, made
from tests.report import browser


@pytest.fixture(scope="module")
def pages():
    """What makes the pages."""
    return made()


def test_every_paper_has_its_page(pages):
    papers = {paper["name"]: paper for paper in pages.papers()}
    assert len(papers) == len({paper["page"] for paper in papers.values()}) == 26
    text = pages.paper_page(papers["Mask R-CNN"])
    assert text.startswith("# Mask R-CNN\n\nHe, Gkioxari, Dollár, Girshick, ICCV 2017")
    assert "model = MaskRCNN(80)" in text and "::: kerasdet.detectors.mask_rcnn.MaskRCNN" in text
    assert "| [`configs/mask_rcnn/coco.py`](../../configs/mask_rcnn/coco.py) | Mask R-CNN and Keypoint R-CNN" in text
    assert "| `maskrcnn_resnet50_fpn_coco` | masks | AP 0.379, mask AP 0.346, COCO val2017 |" in text
    assert "[Fast, Faster, Mask and Keypoint R-CNN, R-FCN](../rcnn.md)" in text


def test_configs_belong_to_the_nearest_detector(pages):
    configs = {module: [path for path, _ in found] for module, found in pages.configs().items()}
    assert "configs/ssdlite/own_data.py" in configs["ssd"] and "configs/yolov3_tiny/own_data.py" in configs["yolov3"]
    assert all("triplets" not in path for path in configs["centernet"])


def test_the_zoo_has_a_row_for_each_released_model(pages):
    table = pages.zoo_table()
    assert re.findall(r"<tr><td><code>([\w.]+)</code>", table) == list(RELEASED)
    assert '<tbody data-task="masks" data-parameters="44401393">' in table and "<td>44.4</td>" in table


def test_the_page_of_commands_has_their_flags(pages):
    text = pages.commands_page()
    assert "\n## train\n" in text and "| `--minutes` | Stretch the config's schedule to this time. |" in text


@pytest.fixture(scope="module")
def site(pages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "built"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", f"--site-dir={folder}"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    """mkdocs itself has checked links and anchors."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(script|img|iframe)[^>]* src=[\"']?(https?:)?//", text), page
        assert not re.search(r"<link[^>]* rel=[\"']?(stylesheet|preconnect)[^>]* href=[\"']?(https?:)?//", text), page


@pytest.mark.slow
@browser.needed
def test_the_zoo_is_filtered(site, tmp_path):
    steps = """
      const shown = () => texts($$("#models tbody:not([hidden]) tr:first-child code"));
      const all = shown().length;
      set($("[name=task]"), "keypoints");
      const keypoints = shown();
      set($("[name=task]"), "");
      set($("[name=most]"), "5");
      const small = shown();
      set($("[name=most]"), "");
      set($("[name=words]"), "retinanet torchvision");
      return [all, keypoints, small, shown(), $("[name=count]").value];
    """
    count, keypoints, small, words, said = browser.use(site / "docs" / "zoo.html", steps, tmp_path, site)
    assert count == len(RELEASED)
    assert keypoints == [name for name, one in RELEASED.items() if one.task == "keypoints"]
    assert small == [name for name, one in RELEASED.items() if one.parameters and one.parameters <= 5e6] != []
    assert words == ["retinanet_resnet50_fpn_coco", "retinanet_resnet50_fpn_v2_coco"]
    assert said == f"2 of {count}"


@pytest.mark.slow
@browser.needed
def test_the_search_finds_from_a_file(site, tmp_path):
    steps = """
      await until(() => $(".md-search-result__list a"));
      return [$(".md-search-result__meta").textContent, $$(".md-search-result__list a").map((one) => one.href)];
    """
    said, found = browser.use(site / "index.html", steps, tmp_path, site, "?q=focal+loss")
    assert re.search(r"\d+ matching documents", said)
    assert any("docs/papers/retinanet.html" in one for one in found)
