"""Pictures of a batch: anchors and objects in their colors, and a saved batch read back."""

import numpy as np
import pytest
from PIL import Image

from kerasdet import boxes, draw
from kerasdet.decoding.paste import paste
from kerasdet.detectors import SSD, FasterRCNN, FastRCNN, RetinaNet
from kerasdet.targets import assign
from kerasdet.training import guard, look
from tests.contract import scenes

GREEN, RED = (0, 170, 60), (230, 30, 30)


def colors(path):
    """How many pixels have each color."""
    pixels = np.array(Image.open(path))
    return {color: int(np.all(pixels == color, axis=-1).sum()) for color in (GREEN, RED)}


def test_objects_out_of_reach_are_red(tmp_path):
    model = RetinaNet(**RetinaNet.tiny())
    images, objects = scenes.batch([(10, 10, 60, 60, 0)], [(20, 20, 90, 23, 1)])
    reached, missed = look.draw_batch(images, objects, model.classes, str(tmp_path), model)
    assert reached == str(tmp_path / "000000_0.png")
    assert colors(reached)[GREEN] > 50 and colors(reached)[RED] == 0
    assert colors(missed)[RED] > 50


def drawn(pixels, objects, names, anchors, missed, path):
    """A picture with given anchors in green, its objects, and given boxes in red, drawn and read back."""
    picture = draw.outline(pixels, anchors, GREEN, width=1)
    real = objects["classes"] >= 0
    more = {"keypoints": objects["keypoints"][real]}
    more["masks"] = paste(objects["masks"][real], objects["mask_frames"][real], *pixels.shape[:2])
    picture = draw.boxes(picture, objects["boxes"][real], objects["classes"][real], names, **more)
    draw.outline(picture, missed, RED, width=3).save(path)
    return np.array(Image.open(path))


def looked(model, tmp_path, *objects):
    """What `look` draws of one picture, and the picture's own pixels and objects."""
    images, batch = scenes.batch(list(objects))
    (path,) = look.draw_batch(images, batch, model.classes, str(tmp_path), model)
    return np.array(Image.open(path)), images["pixels"][0].numpy(), {k: v[0].numpy() for k, v in batch.items()}, batch


def test_proposal_anchors_are_drawn_by_the_thresholds_of_their_network(tmp_path):
    """An object of 48 x 32 overlaps two anchors of side 32 by more than 0.5, none by 0.7: it takes the better one."""
    model = FasterRCNN(**FasterRCNN.tiny())
    seen, pixels, one, batch = looked(model, tmp_path, (22, 24, 70, 56, 0))
    grid = model.anchors((scenes.SIDE, scenes.SIDE)).numpy()
    overlaps = np.array(boxes.iou(one["boxes"], grid))[0]
    assert overlaps.max() == pytest.approx(2 / 3)
    best = grid[overlaps == overlaps.max()]
    expected = drawn(pixels, one, model.classes, best, one["boxes"], tmp_path / "expected.png")
    np.testing.assert_array_equal(seen, expected)
    second_stage = np.array(assign.by_iou(grid, batch, model.positive, model.negative).positive)[0]
    assert second_stage.sum() == 2 and len(best) == 1


def test_default_boxes_are_drawn_one_to_one(tmp_path):
    """Two small objects in one cell: the second takes another box."""
    model = SSD(**SSD.tiny())
    seen, pixels, one, batch = looked(model, tmp_path, (33, 33, 41, 41, 0), (35, 35, 43, 43, 1))
    grid = model.anchors((scenes.SIDE, scenes.SIDE)).numpy()
    rule = np.array(assign.match_one_to_one(boxes.iou(one["boxes"], grid), 0.5)) >= 0
    by_iou = np.array(assign.by_iou(grid, batch, 0.5, 0.5).positive)[0]
    assert (rule != by_iou).any()
    expected = drawn(pixels, one, model.classes, grid[rule], one["boxes"], tmp_path / "expected.png")
    np.testing.assert_array_equal(seen, expected)


def test_a_detector_without_anchors_is_drawn_without(tmp_path):
    images, objects = scenes.batch([(10, 10, 60, 60, 0)], proposals=True)
    model = FastRCNN(**FastRCNN.tiny())
    (path,) = look.draw_batch(images, objects, model.classes, str(tmp_path / "a"), model)
    (bare,) = look.draw_batch(images, objects, model.classes, str(tmp_path / "b"))
    np.testing.assert_array_equal(np.array(Image.open(path)), np.array(Image.open(bare)))
    assert colors(path)[GREEN] == colors(path)[RED] == 0


def test_a_saved_batch_is_read_described_and_drawn(tmp_path):
    images, objects = ({k: v.numpy() for k, v in part.items()} for part in scenes.batch([(10, 10, 60, 60, 0)], []))
    images["pixels"][1, 3, 4] = np.nan
    objects["boxes"][0, 0, 2] = np.inf
    guard.save_batch(tmp_path / "batch.npz", images, objects)
    again = look.load_batch(tmp_path / "batch.npz")
    np.testing.assert_array_equal(again[0]["pixels"], images["pixels"])
    np.testing.assert_array_equal(again[1]["boxes"], objects["boxes"])
    first, second = look.describe_batch(*again)
    assert "image 0: 1 objects, 1 of them without area or not finite" in first and "0 of them not finite" in first
    assert "image 1: 0 objects" in second and "3 of them not finite" in second
    assert len(look.draw_batch(*again, ["egg", "crack"], str(tmp_path))) == 2
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"other\.npz holds no batch"):
        look.load_batch(tmp_path / "other.npz")


def test_masks_and_keypoints_of_a_batch_are_drawn(tmp_path):
    """Of an object that a crop cut at the left, the part of the mask that is left; an unlabeled point is not drawn."""
    images, objects = scenes.batch([(0, 10, 60, 60, 0)])
    half = np.zeros((1, 1, 112, 112), np.uint8)
    half[..., 56:] = 1
    objects["masks"], objects["mask_frames"] = half, np.float32([[[-40, 10, 60, 60]]])
    objects["keypoints"] = np.float32([[[[30, 20, 2], [50, 20, 0], [40, 50, 1]]]])
    (path,) = look.draw_batch(images, objects, ["egg", "crack"], str(tmp_path), skeleton=[(0, 2)])
    seen = np.array(Image.open(path)).astype(int)
    blue, ground = np.array(draw.color(0)), images["pixels"][0].numpy()
    for x, y in ((30, 20), (35, 35), (40, 50)):
        assert (seen[y, x] == blue).all()
    for x, y in ((50, 20), (20, 50), (55, 30)):
        np.testing.assert_allclose(seen[y, x], 0.6 * ground[y, x] + 0.4 * blue, atol=1)
    assert (seen[30, 5] == ground[30, 5]).all() and (seen[40, 75] == ground[40, 75]).all()
