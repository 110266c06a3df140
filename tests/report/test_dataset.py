"""The page of a data set, opened and used in a real browser, and that each photo is decoded once."""

import json

import numpy as np
import pytest
from PIL import Image

from kerasdet import images
from kerasdet.data import validate
from kerasdet.report import dataset as page
from tests.report import browser

SIZES = [(160, 120)] * 7 + [(200, 100)] * 3


@pytest.fixture
def folder(tmp_path):
    """Ten photos of two classes as COCO in two parts that share photos; one is not as large as its file says."""
    folder, rng = tmp_path / "birds", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    listed, objects = [], []
    for number, size in enumerate(SIZES):
        name = f"photo{number}.png"
        Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8)).save(folder / "images" / name)
        listed.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for place in range(number % 3):
            box = [10 + 20 * place, 10, 20, 30]
            objects.append({"image_id": number, "category_id": place + 1, "bbox": box, "id": len(objects) + 1})
    categories = [{"id": 1, "name": "owl <i>"}, {"id": 2, "name": "鷹"}]
    for part, first, last in (("train", 0, 8), ("trainval", 0, 10), ("val", 8, 10)):
        here = {"images": listed[first:last], "categories": categories}
        here["annotations"] = [one for one in objects if first <= one["image_id"] < last]
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(here))
    return folder


def checked(folder, path, drawn=4):
    parts = list(validate.examined(str(folder), drawn))
    page.write(str(folder), parts, [], ["training on birds train"], path)
    return parts


def test_each_photo_is_decoded_once(folder, tmp_path, monkeypatch):
    decoded, load = [], images.load
    monkeypatch.setattr(images, "load", lambda path: decoded.append(path) or load(path))
    parts = checked(folder, tmp_path / "report.html", drawn=0)
    assert [name for name, *_ in parts] == ["train", "trainval", "val"] and sorted(decoded) == sorted(set(decoded))
    assert len(decoded) == 10
    assert [len(findings.looked) for *_, findings in parts] == [8, 10, 2]


@browser.needed
def test_the_page_is_used(folder, tmp_path):
    checked(folder, tmp_path / "report.html")
    steps = """
      const seen = {
        tiles: $$(".tiles div").map((one) => texts(one.children)),
        classes: $$("#per-class tbody tr").map((row) => texts(row.children)),
        objects: texts($$("#objects rect")), sizes: texts($$("#sizes td")),
        heat: $$("#heat rect[fill-opacity]").map((cell) => Number(cell.getAttribute("fill-opacity"))),
        photos: $$("figure").length, faults: $$(".faults li").length,
        boxes: $$("figure rect.truth").length,
      };
      click($("#truth"));
      seen.without = $$("figure rect").length;
      click($("#truth"));
      set($("#group"), "val");
      seen.val = $$("figure").filter(shown).length;
      set($("#group"), "");
      click($("figure .photo"));
      seen.large = $("dialog img").getBoundingClientRect().width;
      return seen;
    """
    seen = browser.use(tmp_path / "report.html", steps, tmp_path)
    assert {name: int(number) for number, name in seen["tiles"]} == {
        "photos": 10, "boxes": 9, "classes": 2, "photos without objects": 4, "faults": 0, "notes": 0,
    }  # fmt: skip
    # Objects in train, trainval and val, photos, and the root of 20 x 30.
    assert seen["classes"] == [["owl <i>", "5", "6", "1", "6", "24"], ["鷹", "2", "3", "1", "3", "24"]]
    assert seen["objects"][:3] == ["0: 4", "1: 3", "2: 3"] and seen["sizes"] == ["160 × 120", "7", "200 × 100", "3"]
    assert len(seen["heat"]) == 960 and max(seen["heat"]) == 1 and min(seen["heat"]) == 0
    assert seen["photos"] == 4 + 4 + 2 and seen["val"] == 2 and seen["faults"] == 0
    assert seen["boxes"] > 0 and seen["without"] == 0 and seen["large"] > 300


@browser.needed
def test_faults_have_their_photo(folder, tmp_path):
    Image.new("RGB", (80, 60)).save(folder / "images" / "photo4.png")
    (folder / "images" / "photo5.png").write_bytes(b"no picture")
    checked(folder, tmp_path / "report.html", drawn=0)
    steps = """
      const photos = $$("figure").map((one) => [one.dataset.group, one.querySelector("figcaption").textContent]);
      return { faults: $$(".faults li").map((one) => one.textContent), photos };
    """
    seen = browser.use(tmp_path / "report.html", steps, tmp_path)
    assert any("photo4.png" in line for line in seen["faults"]) and any("photo5.png" in line for line in seen["faults"])
    assert [group for group, _ in seen["photos"]] == ["fault"] and seen["photos"][0][1].startswith("photo4.png")


def test_heat_counts_boxes():
    """A box over the left half, and one over the upper half, of photos of different sizes."""
    left, upper = (type("R", (), {"width": w, "height": h}) for w, h in ((80, 48), (400, 240)))
    heat = np.array(page._heat([(left, np.float32([[0, 0, 40, 48]])), (upper, np.float32([[0, 0, 400, 120]]))]))
    expected = np.zeros((24, 40))
    expected[:, :20] += 0.5
    expected[:12] += 0.5
    np.testing.assert_array_equal(heat, expected)


def test_columns_of_a_histogram():
    bars = page._histogram([0, 1, 1, 4, 5, 6, 1000], (0, 1, 5, np.inf), 1)
    assert [(bar["name"], bar["count"]) for bar in bars] == [("0", 1), ("1", 2), ("2–5", 2), ("> 5", 2)]
    bars = page._histogram([7.9, 8, 8.1, 40], (8, 16, np.inf))
    assert [(bar["name"], bar["count"]) for bar in bars] == [("8", 2), ("8–16", 1), ("> 16", 1)]
