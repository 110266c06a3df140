"""What may be set on a living detector is one value in every place; class names are checked as they are read."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import suppress
from kerasdet.detectors import RetinaNet
from kerasdet.detectors.detector import Detector
from kerasdet.load import load

PIXELS = np.random.default_rng(0).integers(0, 256, [64, 96, 3], np.uint8)


class Spots(Detector):
    """Forty boxes that overlap in pairs; their logits are its weights."""

    terms = ("class",)

    def __init__(self, classes, side=8.0, above=0.0, suppression=0.5, limit=30, **kwargs):
        super().__init__(classes, **{"resize": ("keep",), "multiple": 1, **kwargs})
        self.dense = keras.layers.Dense(40)
        self.side, self.above, self.suppression, self.limit = side, above, suppression, limit

    def network(self, images, training=False):
        bright = tf.reduce_mean(tf.cast(images["pixels"], tf.float32), axis=[1, 2]) / 255.0
        return {"logits": self.dense(bright)}

    def loss_terms(self, outputs, objects, images, training=True):
        return {"class": tf.reduce_mean(outputs["logits"])}

    def detections(self, outputs, images):
        place = tf.range(40)
        x, y = tf.cast(place // 2 % 5 * 18 + place % 2, tf.float32), tf.cast(place // 10 * 15, tf.float32)
        boxes = tf.tile(
            tf.stack([x, y, x + self.side, y + self.side], axis=-1)[None], [tf.shape(images["ids"])[0], 1, 1]
        )
        classes = tf.tile(place[None] // 2 % self.num_classes, [tf.shape(images["ids"])[0], 1])
        scores = tf.sigmoid(outputs["logits"])
        return suppress.per_class(
            boxes, scores, classes, self.num_classes, self.suppression, self.above, self.limit, self.nms
        )


def make(**changes):
    keras.utils.set_random_seed(1)
    return Spots(**{"classes": ["square", "disc"], **changes})


@pytest.fixture
def model():
    return make()


def test_a_setting_is_one_value_everywhere(model, tmp_path):
    """What `detect` showed once is forgotten; call, predict, save and export take what was set."""
    every = model.detect(PIXELS, above=0.0)
    assert len(every["scores"]) == 20 and model.limit == 30
    model.predict(PIXELS[None], verbose=0)
    middle = float(np.median(every["scores"]))
    model.above, model.limit, model.suppression, model.classes = middle, 7, 0.9, ("cat", "dog")
    wanted = make(above=middle, limit=7, suppression=0.9, classes=["cat", "dog"]).detect(PIXELS, above=0.0)
    assert set(wanted["boxes"][:, 0] % 18) == {0.0, 1.0}  # pairs may both stay
    assert 0 < len(wanted["scores"]) == 7 and wanted["scores"].min() > middle and set(wanted["names"]) <= {"cat", "dog"}
    model.save(tmp_path / "model.keras")
    model.save_preset(tmp_path / "preset")
    model.export(tmp_path / "saved")
    found = {"detect": model, **{name: load(tmp_path / name) for name in ("model.keras", "preset", "saved")}}
    for name, one in found.items():
        seen = one.detect(PIXELS, above=0.0)
        np.testing.assert_allclose(seen["boxes"], wanted["boxes"], atol=1e-3, err_msg=name)
        assert seen["names"] == wanted["names"], name
    for name, seen in (("call", model(PIXELS[None])), ("predict", model.predict(PIXELS[None], verbose=0))):
        np.testing.assert_allclose(seen["boxes"][0], wanted["boxes"], atol=1e-3, err_msg=name)
    assert model.get_config()["above"] == middle and model.get_config()["classes"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("above", 30, "above must be a number from 0 to 1, got 30"),
        ("suppression", 50, "suppression must be a number from 0 to 1, got 50"),
        ("limit", 10**9, "limit must be a whole number from 1 to 100000, got 1000000000"),
        ("limit", 0, "limit must be a whole number"),
        ("limit", 2.5, "limit must be a whole number"),
        ("nms", "harder", "nms must be one of"),
        ("resize", ("shorter", 8), "resize must be"),
        ("classes", ["cat"], "classes must be 2 names, as the model has, got 1"),
    ],
)
def test_wrong_settings_are_refused_when_set_and_when_constructed(model, name, value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        setattr(model, name, value)
    if name != "classes":
        with pytest.raises(ValueError, match=f"^{message}"):
            make(**{name: value})


@pytest.mark.parametrize("name", ["side", "multiple", "dtype"])
def test_other_arguments_are_fixed(model, name):
    with pytest.raises(AttributeError, match=rf"^Spots.{name} is fixed when it is constructed; for another value"):
        setattr(model, name, 1)
    model.note = 1  # what is no argument may be anything


class Thirds(Spots):
    """Gives its base some arguments of its own, and passes on what it does not name."""

    def __init__(self, classes, smallest=3.0, **kw):
        super().__init__(classes, side=smallest, above=0.25, **kw)


class Passing(Spots):
    """Names nothing."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class Bare(Spots):
    """Has no place for a name and a dtype."""

    def __init__(self, classes, wide=16.0):
        super().__init__(classes, side=wide)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Thirds(["a", "b"], suppression=0.4),
        lambda: Passing(["a", "b"], side=7.0, name="mine"),
        lambda: Passing(["a", "b"], 7.0, 0.25),
        lambda: Bare(["a", "b"], 8.0),
    ],
    ids=["keywords", "anything", "by position", "bare"],
)
def test_subclasses_come_back(build, tmp_path):
    model = build()
    model.above, model.limit = 0.001, 9
    wanted, config = model.detect(PIXELS, above=0.0), model.get_config()
    model.save(tmp_path / "model.keras")
    model.save_preset(tmp_path / "preset")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.name == model.name
    for again in (loaded, load(tmp_path / "preset"), model.with_dtype("float32")):
        assert type(again) is type(model) and (again.limit, again.above) == (9, 0.001)
        assert {**again.get_config(), "name": config["name"]} == config  # a preset has no name
        np.testing.assert_array_equal(again.detect(PIXELS, above=0.0)["boxes"], wanted["boxes"])
    assert len(wanted["boxes"]) == 9


def test_a_subclass_that_fixes_arguments_can_fit_anchors():
    class Coarse(RetinaNet):
        def __init__(self, classes, **rest):
            super().__init__(**{**RetinaNet.tiny(), "classes": classes, **rest})

    flat = np.float32([[0, 0, 500, 20]] * 9), np.int64([[64, 512]] * 9)
    assert Coarse(2).fitted(*flat)["levels"][0] == 3


def test_other_file_names_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="x.h5: a detector is saved as a .keras file"):
        model.save(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="format='tf_saved_model' writes a folder"):
        model.export(tmp_path / "y.tflite", format="tf_saved_model")
    with pytest.raises(ValueError, match="format='litert' writes a file named .tflite"):
        model.export(tmp_path / "y", format="litert")
    with pytest.raises(ValueError, match="^export takes no input_signature: a file takes RGB pixels"):
        model.export(tmp_path / "y", input_signature=[tf.TensorSpec([None, None, None, 3])])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("route", ["archive", "saved_model"])
def test_a_file_of_keras_or_tensorflow_needs_no_library(model, route, tmp_path):
    """A graph that is not kerasdet's own is made of TensorFlow's operators, and says the same."""
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    if route == "archive":
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda pixels: model(pixels), input_signature=[spec])
        archive.write_out(str(tmp_path / "file"), verbose=False)
    else:
        module = tf.Module()
        module.model, module.serve = model, tf.function(lambda pixels: model(pixels), input_signature=[spec])
        tf.saved_model.save(module, str(tmp_path / "file"))
    assert b"Kerasdet>" not in (tmp_path / "file" / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(str(tmp_path / "file"))
    found = loaded.serve(PIXELS[None])
    np.testing.assert_allclose(found["boxes"], model(PIXELS[None])["boxes"], atol=1e-3)


def test_layers_are_named_by_their_attributes(model):
    assert model.get_layer("dense") is model.dense
    said = []
    model.summary(print_fn=lambda line, **_: said.append(line))
    assert "dense (Dense)" in "\n".join(said)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("dog", r"got the text 'dog': write \['dog'\]"),
        ({"a", "b"}, "a set has no order: sort it"),
        ({0: "a"}, r"in the order of their ids; got {0: 'a'}"),
        (["a\n", "b\n"], r"'a\\n' is empty or has spaces or line breaks at its ends: strip it"),
        (["a", ""], "'' is empty"),
        (["a\u2028b"], "line breaks"),
        ([1, 2], "1 is no text: write '1'"),
        (["a", "a"], r"got \['a', 'a'\]"),
        ([], r"got \[\]"),
        (0, "got 0"), (True, "got True"), (2.0, "got 2.0"), (None, "got None"),
    ],
)  # fmt: skip
def test_names_that_would_be_read_wrongly_are_refused(classes, message):
    with pytest.raises(ValueError, match=f"^classes must be a list of one or more different names.*{message}"):
        Spots(classes)


def test_names_may_come_in_any_ordered_form(model):
    for given in (("a", "b"), np.array(["a", "b"]), {"a": 1, "b": 2}.keys(), (name for name in "ab")):
        model.classes = given
        assert model.classes == ("a", "b") and all(type(name) is str for name in model.classes)
