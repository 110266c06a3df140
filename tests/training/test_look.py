"""Pictures of a batch: anchors and objects in their colors, and a saved batch read back."""

import numpy as np
import pytest
from PIL import Image

from kerasdet import draw
from kerasdet.detectors import RetinaNet
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
