"""Proposals: files, batches, transforms and tiles, recall, detectors that need them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdet import contract, data, images
from kerasdet.data import parts, pipeline, proposals, selective, shrink, tiles
from kerasdet.data import transforms as augment
from kerasdet.detectors.detector import Detector
from kerasdet.evaluation.evaluator import Evaluator

SIZE = (40, 60)


def record(number, count=3, **fields):
    """A picture with an object and proposals that are not all as many."""
    rng = np.random.default_rng(number)
    low = rng.uniform(0, 25, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 15, (count, 2))], 1).astype(np.float32)
    defaults = {
        "id": 10 + number, "image": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), "height": SIZE[0],
        "width": SIZE[1], "boxes": np.float32([[5, 6, 25, 30]]), "classes": np.int32([0]),
        "crowds": np.array([False]), "areas": np.float32([480]), "proposals": boxes,
    }  # fmt: skip
    return data.Record(**{**defaults, **fields})


def dataset(*records):
    return data.Dataset("made up", ("egg", "crack"), list(records))


@pytest.fixture
def files(tmp_path):
    """Two photos in a table of boxes, and a file of proposals for them."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)).save(tmp_path / name)
    (tmp_path / "boxes.csv").write_text("filename,x1,y1,x2,y2,class\na.png,5,6,25,30,egg\nb.png,1,2,30,30,crack\n")
    found = {"b.png": np.float32([[0, 0, 30, 30], [-5, 2, 70, 20]]), "a.png": np.float32([[1, 2, 3, 4]])}
    proposals.write(tmp_path / "proposals.npz", found)
    return tmp_path


def read(folder, **options):
    return data.read(folder / "boxes.csv", format="xyxy", images=str(folder), **options)


def test_files_round_trip(files):
    found, checks = proposals.read(files / "proposals.npz")
    assert checks == {}
    assert set(found) == {"a.png", "b.png"}
    np.testing.assert_array_equal(found["b.png"], np.float32([[0, 0, 30, 30], [-5, 2, 70, 20]]))
    whole = read(files, proposals=files / "proposals.npz")
    by_name = {proposals.name(one): one.proposals for one in whole.records}
    np.testing.assert_array_equal(by_name["a.png"], [[1, 2, 3, 4]])
    np.testing.assert_array_equal(by_name["b.png"], [[0, 0, 30, 30], [0, 2, 60, 20]])  # inside the picture
    first = read(files, proposals=files / "proposals.npz", max_proposals=1)
    assert [len(one.proposals) for one in first.records] == [1, 1]
    assert [one.proposals for one in read(files).records] == [None, None]


def test_parts_of_a_folder_have_proposals(files):
    yolo = "0 0.5 0.5 0.2 0.2\n"
    (files / "images").mkdir(), (files / "labels").mkdir()
    for name in ("a", "b"):
        (files / f"{name}.png").rename(files / "images" / f"{name}.png")
        (files / "labels" / f"{name}.txt").write_text(yolo)
    (files / "classes.txt").write_text("egg\n")
    for part in parts.parts(str(files), share=0.5, proposals=str(files / "proposals.npz")):
        assert len(part) == 1 and len(part.records[0].proposals) in (1, 2)


def test_faulty_files_are_refused(files):
    with pytest.raises(FileNotFoundError, match="none.npz: no proposals there"):
        read(files, proposals=files / "none.npz")
    (files / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="text.npz is no file of proposals, a .npz with the arrays names"):
        read(files, proposals=files / "text.npz")
    np.savez(files / "other.npz", names=["a.png"], splits=[0, 5], boxes=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="other.npz: the arrays names, splits, boxes do not fit each other"):
        read(files, proposals=files / "other.npz")
    proposals.write(files / "one.npz", {"a.png": np.zeros((1, 4))})
    with pytest.raises(ValueError, match=r"one.npz has no proposals for .*b\.png, one of 1 such pictures"):
        read(files, proposals=files / "one.npz")
    proposals.write(files / "nan.npz", {"a.png": np.full((1, 4), np.nan), "b.png": np.zeros((1, 4))})
    with pytest.raises(ValueError, match=r"nan.npz: the proposals of .*a\.png are not all finite"):
        read(files, proposals=files / "nan.npz")
    with pytest.raises(ValueError, match="one.npz has no proposals for deep/b.png"):
        proposals.of_files(files / "one.npz", ["a.png", "deep/b.png"])
    twice = read(files)
    twice.records[1].image = str(files / "deeper" / "a.png")
    with pytest.raises(ValueError, match="have one name; proposals go by it"):
        proposals.attach(twice, files / "proposals.npz")


def test_another_picture_of_the_same_name_is_refused(files):
    """As in a second split of the same data set."""
    boxes, kept = {"a.png": np.zeros((1, 4)), "b.png": np.zeros((1, 4))}, read(files)
    checks = {proposals.name(one): proposals.check(one) for one in kept.records}
    proposals.write(files / "kept.npz", boxes, "", checks)
    assert len(proposals.attach(kept, files / "kept.npz")) == 2
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(files / "b.png")
    with pytest.raises(ValueError, match=r"made for another picture of the name of .*b\.png"):
        proposals.attach(read(files), files / "kept.npz")
    with pytest.raises(ValueError, match=r"made for another picture of the name of .*b\.png"):
        proposals.of_files(files / "kept.npz", [str(files / "b.png")])
    proposals.write(files / "memory.npz", {"image 11": np.zeros((1, 4))}, "selective search ", {"image 11": 1})
    with pytest.raises(ValueError, match="made for another picture of the name of image 11"):
        selective.make(dataset(record(1)), files / "memory.npz")


def batches(records, preprocess, **options):
    stream = pipeline.load(dataset(*records), preprocess, 2, **options)
    for batch in stream.take(3):
        contract.check(*batch)
        yield batch


def letterbox(pixels):
    return images.preprocess(pixels, ("letterbox", 96, 90))


def test_batches_in_network_pixels():
    """As many rows for every picture; what is padded has no area; the last batch is filled up."""
    records = [record(0, 3), record(1, 1), record(2, 0)]
    (one, objects), (two, _) = batches(records, letterbox)
    assert one["proposals"].shape == two["proposals"].shape == (2, 3, 4) and "proposals" not in objects
    shift = [0, (96 - 60) // 2, 0, (96 - 60) // 2]  # 60 x 40 becomes 90 x 60, in the middle of 96
    np.testing.assert_allclose(one["proposals"][0], records[0].proposals * 1.5 + shift, rtol=1e-6)
    np.testing.assert_allclose(one["proposals"][1, :1], records[1].proposals * 1.5 + shift, rtol=1e-6)
    for empty in (one["proposals"][1, 1:], two["proposals"][0], two["proposals"][1]):
        assert (area(empty.numpy()) == 0).all()


def area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@pytest.mark.parametrize(
    "changes",
    [
        [("flip", 1.0)],
        [("flip_vertical", 1.0)],
        [("rotate",)],
        [("zoom", 1.0, 3.0)],
        [("zoom", 0.3, 0.9)],
        [("window", 4, 3, 40, 31)],
        [("scale_jitter", 64, 0.5, 2.0)],
        [("expand", 3.0, 1.0)],
        [("sample_crop",)],
        [("flip", 0.5), ("zoom", 0.5, 2.0), ("rotate",), ("color",)],
    ],
    ids=str,
)
def test_proposals_move_like_boxes(changes):
    """The same boxes as crowds, which no transform drops inside the picture, and as proposals."""
    one = record(3, 8)
    sample = {
        "pixels": tf.constant(one.image), "ids": tf.constant(0, tf.int64), "boxes": tf.constant(one.proposals),
        "classes": tf.range(8), "crowds": tf.fill([8], True), "proposals": tf.constant(one.proposals),
    }  # fmt: skip
    for seed in range(5):
        changed = augment.apply(sample, changes, tf.constant([seed, 7]))
        rows = changed["classes"].numpy()
        assert changed["proposals"].shape == (8, 4)
        np.testing.assert_allclose(tf.gather(changed["proposals"], rows), changed["boxes"], atol=1e-4)
        left = np.setdiff1d(np.arange(8), rows)
        assert (area(changed["proposals"].numpy()[left]) == 0).all()


def test_mixed_pictures_have_the_proposals_of_all():
    records = [record(i, 4, proposals=np.float32([[5, 6, 25, 30]])) for i in range(4)]
    ((batch, objects), *_) = batches(records, letterbox, training=True, transforms=[("mosaic", 64)])
    for own, kinds, boxes in zip(batch["proposals"], objects["classes"], objects["boxes"], strict=True):
        kept = own.numpy()[area(own.numpy()) > 0]
        np.testing.assert_allclose(kept, boxes[kinds >= 0], atol=1e-4)


def test_all_pictures_need_proposals():
    with pytest.raises(ValueError, match="made up: image 11 has no proposals, but others have"):
        pipeline.load(dataset(record(0), record(1, proposals=None)), letterbox, 2)


def test_tiles_refuse_proposals():
    with pytest.raises(ValueError, match="made up has proposals for whole pictures"):
        tiles.dataset(dataset(record(0)), 32, 8)


def test_copies_of_large_photos(tmp_path):
    Image.fromarray(np.zeros((400, 600, 3), np.uint8)).save(tmp_path / "large.png")
    large = record(0, image=str(tmp_path / "large.png"), height=400, width=600)
    (copy,) = shrink.shrunk(dataset(large), 100, str(tmp_path / "copies")).records
    np.testing.assert_allclose(copy.proposals, large.proposals / 4)


def test_recall():
    """Of two objects one is met exactly by the second proposal, one by 0.6 by the third; a crowd does not count."""
    boxes = np.float32([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    given = np.float32([[0, 20, 5, 30], [0, 0, 10, 10], [20, 0, 26, 10]])
    one = record(0, boxes=boxes, classes=np.int32([0, 0, 0]), crowds=np.array([False, False, True]), proposals=given)
    none = record(1, proposals=np.zeros((0, 4), np.float32))
    expected = np.array([[0, 0], [1, 1], [2, 1], [2, 1]]) / 3
    np.testing.assert_allclose(proposals.recall(dataset(one, none), (1, 2, 3, 1000)), expected)


@keras.saving.register_keras_serializable("kerasdet_tests")
class Best(Detector):
    """Finds the first proposal; its score is its area's share of the picture."""

    terms = ("class",)
    needs_proposals = True

    def network(self, images, training=False):
        return {"proposals": images["proposals"]}

    def loss_terms(self, outputs, objects, images, training=True):
        return {"class": tf.reduce_sum(outputs["proposals"])}

    def detections(self, outputs, images):
        first = outputs["proposals"][:, :1]
        sides = first[..., 2:] - first[..., :2]
        count = tf.ones([tf.shape(first)[0]], tf.int32)
        share = tf.reduce_prod(sides, -1) / (96 * 90)
        return {"boxes": first, "scores": share, "classes": tf.zeros_like(share, tf.int32), "counts": count}


@pytest.fixture(scope="module")
def best():
    return Best(["egg", "crack"], resize=("letterbox", 96, 90), multiple=1)


def test_detect_with_proposals(best):
    """In and out in the picture's own pixels."""
    pictures, boxes = [record(i).image for i in range(2)], [record(i).proposals for i in range(2)]
    for found, own in zip(best.detect(pictures, above=0.0, proposals=boxes), boxes, strict=True):
        np.testing.assert_allclose(found["boxes"], own[:1], rtol=1e-5)
    one = best.detect(pictures[0], above=0.0, proposals=boxes[0])
    np.testing.assert_allclose(one["scores"], area(boxes[0][:1]) * 1.5**2 / (96 * 90), rtol=1e-5)


def test_evaluation_with_proposals(best):
    found = Evaluator(best, dataset(record(0, proposals=np.float32([[5, 6, 25, 30]]))))()
    assert found["AP"] == pytest.approx(1)


def test_export_with_proposals(best, tmp_path):
    best.export(str(tmp_path))
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    one = record(0)
    found = serve(images=tf.constant(one.image[None]), proposals=tf.constant(one.proposals[None]))
    height, width = one.image.shape[:2]
    boxes = found["detection_boxes"].numpy()[0][:, [1, 0, 3, 2]] * [width, height, width, height]
    np.testing.assert_allclose(boxes, one.proposals[:1], rtol=1e-5)


def test_missing_proposals(best):
    picture = record(0).image
    with pytest.raises(ValueError, match="Best needs proposals: give `proposals` for every picture"):
        best.detect(picture)
    with pytest.raises(ValueError, match="Best needs proposals"):
        best(picture[None])
    with pytest.raises(ValueError, match="give no tiles with them"):
        best.detect(picture, tiles=(32, 8), proposals=record(0).proposals)
    with pytest.raises(ValueError, match="one array for each of 2 pictures, got 1"):
        best.detect([picture, picture], proposals=[record(0).proposals])
    with pytest.raises(ValueError, match="Best needs proposals, and made up has none: write a file by `tools.make"):
        Evaluator(best, dataset(dataclasses.replace(record(0), proposals=None)))
