"""Starting from another model's weights."""

import keras
import numpy as np
import pytest

from kerasdet.training import start
from kerasdet.weights import copy
from tests.training import micro


def random(**arguments):
    """A `Micro` whose weights are all different."""
    model = micro.Micro(**arguments)
    rng = np.random.default_rng(7)
    for v in model.weights:
        v.assign(rng.normal(size=v.shape))
    return model


def test_rows_of_a_class_head_go_by_class_name(tmp_path):
    """Anchor-major: output a * K + k is class k of anchor a."""
    source = random(classes=["egg", "crack", "dirt"], anchors=2)
    source.save(tmp_path / "old.keras")
    target = random(classes=["hair", "dirt", "egg", "mold"], anchors=2)
    before = target.class_head.kernel.numpy()
    done = start.load(target, tmp_path / "old.keras")
    kernel, old = target.class_head.kernel.numpy(), source.class_head.kernel.numpy()
    for anchor in range(2):
        ours, theirs = 4 * anchor, 3 * anchor
        np.testing.assert_array_equal(kernel[..., ours + 1], old[..., theirs + 2])  # dirt
        np.testing.assert_array_equal(kernel[..., ours + 2], old[..., theirs + 0])  # egg
        np.testing.assert_array_equal(kernel[..., ours + 0], before[..., ours + 0])  # hair is new
        np.testing.assert_array_equal(kernel[..., ours + 3], before[..., ours + 3])
    bias, old = target.class_head.bias.numpy(), source.class_head.bias.numpy()
    np.testing.assert_array_equal(bias[[1, 2, 5, 6]], old[[2, 0, 5, 3]])
    np.testing.assert_array_equal(target.backbone[1].kernel, source.backbone[1].kernel)
    assert done["class_head/kernel"] == copy.PARTLY and done["box_head/kernel"] == copy.LOADED


def test_tensors_match_in_a_process_that_has_made_other_layers(tmp_path):
    source = random()
    source.save(tmp_path / "old.keras")
    [keras.layers.Conv2D(1, 1) for _ in range(5)]
    target = random(norm="batch")
    assert [v.path for v in target.weights] != [v.path for v in source.weights]
    assert set(start.load(target, tmp_path / "old.keras").values()) == {copy.LOADED}
    for a, b in zip(source.weights, target.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_table_lists_what_was_not_loaded():
    source, target = random(anchors=1), random(norm=None)
    text = copy.table(copy.by_name(source, target), "runs/old")
    assert text.startswith("weights of runs/old: ")
    assert "backbone/*                       2 of 12 loaded" in text
    for line in (
        "class_head/kernel                                            other shape",
        "backbone/0/bias                                              not in the source",
        "backbone/0/norm/gamma                                        not needed",
    ):
        assert line in text


def test_weights_file_of_the_same_model(tmp_path):
    source, target = random(), micro.make()
    source.save_weights(tmp_path / "a.weights.h5")
    start.load(target, tmp_path / "a.weights.h5")
    for a, b in zip(source.weights, target.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="a.weights.h5 is no weights file of this model"):
        start.load(micro.make(classes=2), tmp_path / "a.weights.h5")


def test_bad_sources_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model there"):
        start.load(micro.make(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no weights file there"):
        start.load(micro.make(), tmp_path / "b.weights.h5")
    with pytest.raises(ValueError, match="no tensor of the source fits this model"):
        copy.by_name(keras.Sequential([keras.Input([1]), keras.layers.Dense(1)]), micro.make())
