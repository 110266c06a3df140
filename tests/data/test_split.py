"""Split: by content and seed, near-duplicates and scenes together, every class on both sides."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from kerasdet import data
from kerasdet.data.split import near_duplicates


def noise(number, side=32):
    return np.random.default_rng(number).integers(0, 256, (side, side, 3)).astype(np.uint8)


def dataset(kinds, pictures=None):
    """Images whose classes are given as tuples."""
    records = []
    for number, kind in enumerate(kinds):
        boxes = np.tile(np.float32([[1, 1, 9, 9]]), (len(kind), 1))
        image = noise(number) if pictures is None else pictures[number]
        flags = np.zeros(len(kind), bool)
        records.append(data.Record(number, image, 32, 32, boxes, np.array(kind, np.int32), flags, flags.astype("f4")))
    return data.Dataset("made", ("a", "b", "c"), records)


def ids(part):
    return [record.id for record in part.records]


def images_of(part, kind):
    return sum(kind in record.classes for record in part.records)


def test_shares_and_classes():
    """Each photo is drawn by itself, so shares are right within the spread of 200 draws: 0.2 +- 0.028 once."""
    rng = np.random.default_rng(1)
    whole = dataset([tuple(np.flatnonzero(rng.uniform(size=3) < (0.9, 0.3, 0.06))) for _ in range(200)])
    train, validation = data.split(whole, 0.2)
    assert sorted(ids(train) + ids(validation)) == list(range(200)) and ids(train) == sorted(ids(train))
    assert abs(len(validation) - 40) <= 12
    for kind in range(3):
        assert images_of(validation, kind) > 0 and images_of(train, kind) > 0
    assert (train.name, validation.name, train.classes) == ("made train", "made validation", whole.classes)


def test_seed():
    whole = dataset([(0,)] * 30)
    parts = [tuple(ids(data.split(whole, seed=seed)[1])) for seed in (0, 0, 1, 2)]
    assert parts[0] == parts[1] and len(set(parts)) == 3


def test_more_photos_move_none():
    """Photos that come later, and another order, leave every photo on its side."""
    few, many = dataset([(0,)] * 40), dataset([(0,)] * 70)
    before, after = set(ids(data.split(few)[1])), set(ids(data.split(many)[1]))
    assert before == {number for number in after if number < 40} and len(after) > len(before) > 0
    back = dataclasses.replace(many, records=many.records[::-1])
    assert set(ids(data.split(back)[1])) == after


def scene(count):
    """Frames of a fixed camera: a spot moves before one background."""
    still = np.asarray(Image.fromarray(noise(0)[:8, :8]).resize((64, 64), Image.Resampling.BICUBIC)).copy()
    frames = np.repeat(still[None], count, 0)
    for number, frame in enumerate(frames):
        frame[8:14, 2 + number % 50 : 8 + number % 50] = 255
    return list(frames)


def test_a_fixed_camera_is_split_in_blocks_of_time(tmp_path):
    frames = dataset([(0,)] * 40, scene(40))
    for number, record in enumerate(frames.records):
        record.image = str(tmp_path / f"f{number:03d}.png")
        Image.fromarray(scene(40)[number]).save(record.image)
    train, validation = data.split(frames)
    assert len(train) and len(validation) and len(train) + len(validation) == 40
    blocks = [{number // 8 for number in ids(part)} for part in (train, validation)]
    assert not blocks[0] & blocks[1] and len(blocks[0] | blocks[1]) == 5
    assert any("cut into 5 blocks of 8 consecutive ones" in note for note in train.notes)


def test_copies_that_a_tool_made_of_a_photo_stay_together(tmp_path):
    whole = dataset([(0,)] * 12, [noise(number) for number in range(12)])
    for number, record in enumerate(whole.records):
        path = tmp_path / f"p{number // 3}_jpg.rf.{number:032x}.png"
        Image.fromarray(record.image).save(path)
        record.image = str(path)
    for seed in range(4):
        train, validation = data.split(whole, 0.3, seed)
        assert not {number // 3 for number in ids(train)} & {number // 3 for number in ids(validation)}


def test_a_class_of_two_images_is_on_both_sides():
    for seed in range(5):
        parts = data.split(dataset([(0,)] * 20 + [(0, 2), (2,)]), 0.1, seed)
        assert [images_of(part, 2) for part in parts] == [1, 1]


def test_a_class_of_one_image_is_noted():
    train, _ = data.split(dataset([(0,)] * 9 + [(1,)]))
    assert any("class 'b' is only in" in note and "have it: 1)" in note for note in train.notes)


def test_near_duplicates_stay_together():
    """Copies, smaller, brighter, and as a JPEG, of 6 of 12 pictures."""
    pictures, twins = [noise(number, 64) for number in range(12)], []
    pictures = [np.asarray(Image.fromarray(one[:8, :8]).resize((64, 64), Image.Resampling.BICUBIC)) for one in pictures]
    for number in range(6):
        small = np.asarray(Image.fromarray(pictures[number]).resize((48, 48), Image.Resampling.BICUBIC))
        twins.append(np.clip(small.astype(int) + 4, 0, 255).astype(np.uint8))
    whole = dataset([(0,)] * 18, pictures + twins)
    groups = sorted(map(sorted, near_duplicates(whole)))
    assert groups == [[number, number + 12] for number in range(6)] + [[number] for number in range(6, 12)]
    for seed in range(5):
        train, validation = data.split(whole, 0.3, seed)
        assert all((number in ids(train)) == (number + 12 in ids(train)) for number in range(6))
        assert any("12 images are near-duplicates, in 6 groups" in note for note in train.notes)


def test_pictures_with_the_same_gradient_are_not_duplicates():
    ramps = [np.tile(np.linspace(low, low + 90, 32).astype(np.uint8)[:, None], (32, 1, 3)) for low in (0, 100)]
    assert len(near_duplicates(dataset([(0,), (0,)], ramps))) == 2


def test_small_and_impossible():
    parts = data.split(dataset([(0,), (0,)]))
    assert [len(part) for part in parts] == [1, 1]
    assert [len(part) for part in data.split(dataset([(), ()]))] == [1, 1]
    with pytest.raises(ValueError, match="cannot be split"):
        data.split(dataset([(0,), (0,)], [noise(1), noise(1)]))
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        data.split(dataset([(0,), (0,)]), 20)
