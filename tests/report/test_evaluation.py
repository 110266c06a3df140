"""The page of an evaluation, opened and used in a real browser."""

import re

import numpy as np
import pytest

from kerasdet import data
from kerasdet.evaluation import coco, curves, errors, report
from tests.report import browser

NAMES = ("猫 & <b>cat</b>", "dog's", "owl</script>")


class Ran:
    """An evaluator that has run: objects found, of the wrong class, loose, twice or not at all."""

    def __init__(self):
        rng, records = np.random.default_rng(0), []
        for number in range(16):
            corners = np.stack(np.meshgrid([10, 110, 210], [10, 110]), -1).reshape(-1, 2) + rng.uniform(0, 9, (6, 2))
            boxes = np.concatenate([corners, corners + rng.uniform(50, 70, (6, 2))], 1).astype(np.float32)
            classes, crowds = np.arange(6, dtype=np.int32) % 3, np.arange(6) == (5 if number == 2 else 6)
            image = rng.integers(0, 255, (200, 320, 3), np.uint8)
            areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
            records.append(data.Record(number, image, 200, 320, boxes, classes, crowds, areas))
        self.dataset = data.Dataset("birds & <b>beasts</b>", NAMES, records)
        self.truth, self.results = coco.ground_truth(self.dataset), []
        for record in records:
            for index, (x1, y1, x2, y2) in enumerate(record.boxes.tolist()):
                width, height = x2 - x1, y2 - y1
                score = 0.95 - 0.1 * index + 0.002 * record.id
                if (record.id + index) % 5 == 0:
                    continue
                number = (record.classes[index] + ((record.id + index) % 4 == 0)) % 3
                moved = 0.5 * width * ((record.id + index) % 3 == 0)
                self._add(record, number, score, [x1 + moved, y1, width, height])
                if index == 1:
                    self._add(record, number, score - 0.4, [x1, y1, width, height])
            self._add(record, 0, 0.3, [0, 0, 9, 9])
        self.evaluations = {"bbox": coco.evaluate(self.truth, self.results)}

    def _add(self, record, number, score, box):
        self.results.append({"image_id": record.id, "category_id": int(number) + 1, "score": score, "bbox": box})

    def found(self, image_id):
        return [one for one in self.results if one["image_id"] == image_id]


@pytest.fixture(scope="module")
def ran():
    return Ran()


@pytest.fixture(scope="module")
def written(ran, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    report.write(ran, {"threshold": 0.5}, folder, worst=3)
    return folder / "report.html"


def test_one_file_needs_no_other(written):
    text = re.sub(r"data:image/[^\"]*", "", written.read_text(encoding="utf-8"))
    addresses = re.findall(r"https?://[^\s\"']+", text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"} and "src=" in text and "<link" not in text


@browser.needed
def test_the_page_is_used(ran, written, tmp_path):
    steps = """
      const images = $$("figure img").filter((one) => one.naturalWidth === 320);
      const before = {
        title: document.title, photos: $$("figure").length, images: images.length,
        worst: $$("figure[data-group=worst]").length,
        classes: $$("#per-class tbody tr").map((row) => row.dataset.class),
        cells: $$("#per-class tbody tr").map((row) => texts(row.children).slice(1)),
        kinds: $$("#kinds tbody tr").map((row) => texts(row.children).slice(2, 4)),
        matrix: $$(".matrix tbody tr").map((row) => texts(row.querySelectorAll("td")).map(Number)),
        curves: [$$("#pr path").length, $$("#f1 path").length],
        caption: $("figure span").textContent,
      };
      const marks = (kind) => $$(`figure:first-child rect.${kind}`).length;
      const all = ["truth", "missed", "right", "wrong"].map(marks);
      set($("#score"), 0.9);
      const strict = { marks: ["truth", "missed", "right", "wrong"].map(marks), said: $("output.score").textContent,
        missed: $("#kinds tr[data-kind=missed] .count").textContent };
      set($("#score"), 0.01);
      const every = texts($$("#kinds .count")).map(Number);
      click($("#detections"));
      const bare = ["truth", "missed", "right", "wrong"].map(marks);
      click($("#truth"));
      const nothing = $$("figure rect").length;
      click($("#truth")); click($("#detections")); click($("#labels"));
      const labels = $$("figure:first-child text").length;
      set($("#group"), "random");
      const random = $$("figure").filter(shown).map((figure) => figure.dataset.group);
      set($("#group"), ""); set($("#kind"), "both");
      const both = $$("figure").filter(shown).length;
      set($("#kind"), "");
      click($("#per-class th"));
      const names = $$("#per-class tbody tr").map((row) => row.dataset.class);
      click($("#per-class th:nth-child(4)"));
      const precisions = $$("#per-class tbody tr").map((row) => Number(row.children[3].textContent));
      click($("#per-class th:nth-child(4)"));
      const turned = $$("#per-class tbody tr").map((row) => Number(row.children[3].textContent));
      $("#per-class tbody tr").dispatchEvent(new Event("mouseenter"));
      const lit = $$("path.lit").map((path) => path.dataset.class);
      click($("figure .photo"));
      const wide = $("dialog img").getBoundingClientRect().width;
      const large = { open: $("dialog").open, wide, marks: $$("dialog rect").length };
      click($("dialog .photo"));
      return { before, all, strict, every, bare, nothing, labels, random, both, names, precisions, turned, lit, large,
        closed: !$("dialog").open };
    """
    seen = browser.use(written, steps, tmp_path)
    evaluation, before = ran.evaluations["bbox"], seen["before"]
    verdicts = errors.judge(evaluation, ran.results)
    assert before["title"] == ran.dataset.name
    assert (before["photos"], before["images"], before["worst"]) == (15, 15, 3)
    numbers = coco.summary(evaluation)
    ranked = sorted(NAMES, key=lambda name: -numbers["per_class"][name])
    assert before["classes"] == ranked
    for name, cells in zip(before["classes"], before["cells"], strict=True):
        shown, right, objects = (one[49] if np.ndim(one) else one for one in curves.counts(evaluation)[name])
        assert cells[:5] == [str(objects), *(f"{value:.3f}" for value in (
            numbers["per_class"][name], numbers["per_class_AP50"][name], right / shown, right / objects))]  # fmt: skip
    costs = errors.costs(evaluation, ran.results, verdicts)
    for above, counts in ((0.5, [int(count) for count, _ in before["kinds"]]), (0.01, seen["every"])):
        by_image = errors.count(ran.truth, ran.results, verdicts, above).values()
        assert counts == [sum(one.get(kind, 0) for one in by_image) for kind in errors.KINDS]
    assert [cost for _, cost in before["kinds"]] == [f"{costs[kind]:.3f}" for kind in errors.KINDS]
    assert min(seen["every"]) > 0
    assert np.sum(before["matrix"]) > 90 and np.shape(before["matrix"]) == (4, 4)
    assert before["curves"] == [4, 4] and "missed" in before["caption"]

    truth, missed, right, wrong = seen["all"]
    assert truth + missed == 6 and min(missed, right, wrong) > 0
    assert seen["strict"]["said"] == "0.90" and seen["strict"]["marks"][1] > missed
    assert sum(seen["strict"]["marks"][2:]) < right + wrong
    assert seen["bare"][2:] == [0, 0] and sum(seen["bare"][:2]) == 6 and seen["nothing"] == 0
    assert seen["labels"] > 6 and seen["random"] == 12 * ["random"] and 0 < seen["both"] < 15
    assert seen["names"] == [NAMES[1], NAMES[2], NAMES[0]]
    assert seen["precisions"] == sorted(seen["precisions"], reverse=True) and seen["turned"] == seen["precisions"][::-1]
    assert len(set(seen["lit"])) == 1 and len(seen["lit"]) == 2
    assert seen["large"]["open"] and seen["large"]["wide"] > 500 and seen["large"]["marks"] > 6 and seen["closed"]
