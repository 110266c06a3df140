"""TFLite files of one size under every resize rule, and what is refused in words."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data
from kerasdet.detectors import SSD, FasterRCNN, FastRCNN
from kerasdet.export import metadata, report, tflite
from kerasdet.export.load import Exported, Lite
from kerasdet.load import load
from tests.contract import scenes
from tests.training.micro import Micro

SLOW_RULES = [pytest.param(rule, marks=pytest.mark.slow) for rule in ("letterbox", "squeeze", "stretch")]


@pytest.mark.parametrize("rule", ["shorter", "darknet_letterbox", *SLOW_RULES])
def test_a_file_of_one_size_maps_boxes_back(rule, tmp_path):
    """A picture of another shape gives what Keras gives, up to the rounding of its resized pixels to whole numbers."""
    keras.utils.set_random_seed(5)
    model = SSD(**{**SSD.tiny(), "resize": (rule, 96, 128 if rule == "shorter" else 96)})
    images, objects = scenes.batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0)
    model.fit(tf.data.Dataset.from_tensors((images, objects)).repeat(), steps_per_epoch=60, verbose=0)
    size = (96, 128) if rule == "shorter" else (96, 96)
    model.export(tmp_path / "file.tflite", format="litert", size=size)
    wide = np.uint8(tf.image.resize(images["pixels"][0], [105, 140]))
    numbers = report.differences(model, load(tmp_path / "file.tflite"), [wide], above=0.2)
    assert numbers["detections"] >= 2 and numbers["missing"] == 0
    assert numbers["box"] < 1 and numbers["score"] < 0.02, numbers


@pytest.mark.parametrize("rule", ["shorter", "letterbox"])
def test_a_file_of_one_size_takes_every_picture(rule, tmp_path):
    """Also where the detector's own rule would bring it to another size; nothing is found in margins."""
    model = SSD(**{**SSD.tiny(), "resize": (rule, 96, 128)})
    model.export(tmp_path / "file.tflite", format="litert", size=(96, 128))
    opened = load(tmp_path / "file.tflite")
    for height, width in ((140, 105), (60, 200)):
        found = opened.detect(np.full([height, width, 3], 90, np.uint8), 0.0)["boxes"]
        assert rule == "shorter" or len(found) and (found[:, 2:] > found[:, :2]).all()
        assert (found >= 0).all() and (found <= [width, height, width, height]).all()


def test_examples_are_as_the_file_will_see_them():
    """Margins in the mean color, pictures from all over the data."""
    model = SSD(**{**SSD.tiny(), "resize": ("letterbox", 96, 96)})
    ((seen,),) = tflite.fitted(model, [np.full([96, 48, 3], 9, np.uint8)], (96, 96))
    assert seen[0, 0, 0].tolist() == [124, 116, 104] and seen[0, 0, 48].tolist() == [9, 9, 9]
    shapes = data.read("shapes", "val")
    numbers = [record.id for record in shapes.records]
    chosen = tflite.examples(model, shapes, 120)
    assert len(chosen) == 120 and len(numbers) < 240
    np.testing.assert_array_equal(chosen[-1], shapes.records[-1].image)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_becomes_float32(dtype, tmp_path):
    keras.utils.set_random_seed(5)
    model = SSD(**SSD.tiny(), dtype=dtype)
    twin = model.with_dtype("float32")
    assert twin.dtype_policy.name == "float32"
    for mine, own in zip(twin.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, own)
    model.export(tmp_path / "file.tflite", format="litert")
    pixels = np.random.default_rng(0).integers(0, 256, [80, 64, 3], np.uint8)
    found, wanted = load(tmp_path / "file.tflite").detect(pixels, 0.0), twin.detect(pixels, 0.0)
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-5)


def test_differences_count_what_is_too_much():
    """Every detection is another one of one at most; boxes without area are found again."""
    model = SSD(**SSD.tiny())
    pixels = np.random.default_rng(0).integers(0, 256, [96, 64, 3], np.uint8)
    same = report.differences(model, model, [pixels])
    assert same["detections"] > 10 and not any(same[key] for key in ("missing", "extra", "box", "score"))
    found = model.detect(pixels, 0.0)
    twice = {key: np.repeat(value, 2, axis=0) for key, value in found.items()}
    numbers = report.differences(model, types.SimpleNamespace(detect=lambda *_: twice), [pixels])
    assert numbers["extra"] == len(found["scores"]) and numbers["missing"] == 0


def test_a_file_that_proposes_takes_no_proposals(tmp_path):
    FasterRCNN(**FasterRCNN.tiny()).export(tmp_path / "file.tflite", format="litert")
    with pytest.raises(ValueError, match="proposes regions itself"):
        load(tmp_path / "file.tflite").detect(np.zeros([64, 64, 3], np.uint8), proposals=[[0, 0, 9, 9]])


def test_raw_proposals_are_pixels_of_the_picture(tmp_path):
    keras.utils.set_random_seed(5)
    model = FastRCNN(**{**FastRCNN.tiny(), "resize": ("shorter", 96, 128)})
    model.export(tmp_path / "raw.tflite", format="litert", raw=True, proposals=4)
    pixels = np.random.default_rng(0).integers(0, 256, [1, 48, 64, 3], np.uint8)
    boxes = np.float32([[[4, 6, 30, 40], [10, 3, 60, 44], [0, 0, 20, 20], [30, 20, 50, 45]]])
    images = {**model.preprocess(pixels), "ids": tf.zeros([1], tf.int64), "proposals": tf.constant(2 * boxes)}
    wanted = model.raw(model.network(images))
    said = Lite(tmp_path / "raw.tflite")(pixels, boxes)
    np.testing.assert_allclose(said["logits"], wanted["logits"], rtol=1e-3, atol=1e-5)


def test_metadata_names_outputs_by_what_they_are():
    detector = ["detection_boxes", "detection_classes", "detection_masks", "detection_scores", "num_detections"]
    written = metadata.detections(("cat",), detector, None)
    assert b"detection_masks" in written and b"detection_result" in written
    raw = metadata.detections(("cat",), ["deltas", "logits"], None)
    assert b"logits" in raw and b"detection_result" not in raw and b"location" not in raw


def test_eight_bits_end_where_the_layers_end(tmp_path):
    """No score and no box is rounded to one of 256 values."""
    model, file = SSD(**SSD.tiny()), tmp_path / "int8.tflite"
    pixels = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)
    model.export(file, format="litert", kind="int8", size=(64, 64), examples=[pixels])
    (graph, *_), parsed = metadata.operators(file.read_bytes())
    tensors, int8 = parsed.subgraphs[0].tensors, metadata.schema().TensorType.INT8
    rounded = {kind for kind, one in graph if int8 in {tensors[index].type for index in one.outputs}}
    decoding = {"SOFTMAX", "LOGISTIC", "EXP", "TOPK_V2", "GATHER", "SPLIT", "STRIDED_SLICE", "UNPACK", "SELECT_V2"}
    assert "CONV_2D" in rounded and rounded.isdisjoint(decoding) and decoding & {kind for kind, _ in graph}
    assert report.operators(file)["QUANTIZE"] == 1


@pytest.mark.parametrize("arguments, words", [
    ({"kind": "int4"}, "kind must be one of .*got 'int4'"),
    ({"kind": "int8"}, "measures the ranges of activations on examples: give typical pictures"),
])  # fmt: skip
def test_refusals_are_one_line(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words) as error:
        SSD(**SSD.tiny()).export(tmp_path / "file.tflite", format="litert", **arguments)
    assert "\n" not in str(error.value)


def test_a_file_runs_once_a_picture():
    """However many entries the detections have."""
    asked = []

    def ask(pixels):
        asked.append(pixels.shape)
        empty = {"detection_boxes": np.zeros([1, 3, 4]), "detection_scores": np.zeros([1, 3])}
        return {**empty, "detection_classes": np.full([1, 3], -1.0), "num_detections": np.zeros([1])}

    facts = {"classes": ["cat"], "suppression": 0.5, "needs_proposals": False, "needs_masks": False, "num_keypoints": 0}
    opened = Exported(facts, ask)
    images = {"ids": tf.constant([4, 7], tf.int64), **opened.preprocess(np.zeros([2, 5, 6, 3], np.uint8))}
    found = opened.detections({}, images)
    assert asked == [(1, 5, 6, 3)] * 2 and found["counts"].numpy().tolist() == [0, 0]


class Fifth(keras.layers.Layer):
    """Adds a dimension in the way that TFLite does not know where sizes are not known."""

    def call(self, x):
        return tf.reduce_max(x[..., None], axis=-1)


class Slicing(Micro):
    def __init__(self, classes, **kwargs):
        super().__init__(classes, **{**kwargs, "resize": ("keep",)})
        self.fifth = Fifth()

    def network(self, images, training=False):
        return super().network({**images, "pixels": self.fifth(images["pixels"])}, training)


def test_an_operator_that_tflite_lacks_is_named_with_its_layer_and_a_cure(tmp_path):
    message = r"Slicing: TFLite has no builtin for StridedSlice, in the layer 'fifth': "
    with pytest.raises(ValueError, match=message + r"write x\[..., None\] as tf.expand_dims\(x, -1\)") as refused:
        Slicing(["a", "b"]).export(tmp_path / "file.tflite")
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())
