"""SavedModels: what they say to somebody without kerasdet, what they say to bad requests, and what lies beside them."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdet.detectors import DETECTORS
from kerasdet.export import saved_model
from kerasdet.load import load

RULES = {"one size": ("stretch", 96, 128), "letterbox": ("letterbox", 96, 96), "any size": ("shorter", 64, 96)}


@pytest.fixture(scope="module", params=RULES)
def model(request):
    keras.utils.set_random_seed(3)
    kind = DETECTORS["SSD"]
    return kind(**{**kind.tiny(), "resize": RULES[request.param], "multiple": 1, "above": 0.34})


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return saved_model.write(model, tmp_path_factory.mktemp("served"), version=7)


@pytest.fixture(scope="module")
def signatures(folder):
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures


def picture(height, width):
    y, x = np.mgrid[0:height, 0:width]
    blobs = 90 * np.sin(y / 7) * np.cos(x / 11)
    return np.uint8(128 + np.stack([blobs, -blobs, blobs / 2], axis=-1))


def same(answers, prefix, index, found, height, width):
    """Whether an answer says what Keras' detections say."""
    count = int(answers[f"{prefix}.num_detections"][index])
    assert count == len(found["scores"])
    boxes = answers[f"{prefix}.detection_boxes"][index, :, [1, 0, 3, 2]].T * [width, height, width, height]
    np.testing.assert_allclose(boxes[:count], found["boxes"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(answers[f"{prefix}.detection_scores"][index, :count], found["scores"], atol=1e-5)
    np.testing.assert_array_equal(answers[f"{prefix}.detection_classes"][index, :count], found["classes"])
    assert list(answers[f"{prefix}.detection_class_names"][index, :count]) == found["names"]
    assert (answers[f"{prefix}.detection_classes"][index, count:] == -1).all()
    assert (answers[f"{prefix}.detection_class_names"][index, count:] == "").all()
    return count


def test_says_what_keras_says(model, folder, stranger, tmp_path):
    """Portrait, landscape and odd sizes; files of several sizes in one batch, one turned by its EXIF tag."""
    sizes = [(90, 61), (55, 131)]
    for height, width in sizes:
        np.save(tmp_path / f"{height}.npy", np.stack([picture(height, width + i)[:, i:] for i in range(3)]))
        np.save(tmp_path / f"float{height}.npy", picture(height, width)[None].astype(np.float32) + 0.25)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(80, 120)).save(tmp_path / "a_turned.jpg", exif=exif)
    Image.fromarray(picture(64, 48)).save(tmp_path / "b.png")
    Image.fromarray(np.uint8([[[9, 8, 7]]])).save(tmp_path / "c_one_pixel.png")
    stranger.ask(saved_model=str(folder), requests=str(tmp_path))
    answers = np.load(tmp_path / "answers.npz")
    seen = 0
    for height, width in sizes:
        for i, pixels in enumerate(np.load(tmp_path / f"{height}.npy")):
            found = model.detect(pixels, above=0)
            seen += same(answers, f"serving_default.{height}", i, found, height, width)
        found = model.detect(np.load(tmp_path / f"float{height}.npy")[0], above=0)
        same(answers, f"float_images.float{height}", 0, found, height, width)
    files = [("a_turned.jpg", 120, 80), ("b.png", 64, 48), ("c_one_pixel.png", 1, 1)]
    for i, (file, height, width) in enumerate(files):
        found = model.detect(tmp_path / file, above=0)
        for signature in ("image_bytes", "tf_example"):
            seen += same(answers, f"{signature}.files", i, found, height, width)
    assert seen > 20


BAD = {
    "not an image": ("image_bytes", [b"hello"], "image 0: cannot be decoded as an image .it is not a JPEG, PNG"),
    "second is empty": ("image_bytes", [b"", b""], "image [01]: cannot be decoded as an image .the file is empty"),
    "no image": ("image_bytes", np.zeros([0], "S"), "no image is given"),
    "empty batch": ("serving_default", np.zeros([0, 9, 9, 3], np.uint8), "images are empty; their shape is. .0 9 9"),
    "no rows": ("serving_default", np.zeros([1, 0, 9, 3], np.uint8), "images are empty"),
    "no example": ("tf_example", [b"hello"], "Could not parse example"),
    "example without image": ("tf_example", [b""], "image/encoded"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_in_words(signatures, case):
    signature, tensor, words = BAD[case]
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        signatures[signature](tf.constant(tensor))


def test_odd_requests_are_answered(model, signatures, tmp_path):
    """One pixel, CMYK, and 20 megapixels."""
    large = picture(10, 10).repeat(365, axis=0).repeat(548, axis=1)
    file = tmp_path / "cmyk.jpg"
    Image.fromarray(picture(50, 60)).convert("CMYK").save(file)
    for wanted, request in (
        (picture(1, 1), {"images": tf.constant(picture(1, 1)[None])}),
        (large, {"images": tf.constant(large[None])}),
        (file, {"image_bytes": tf.constant([file.read_bytes()])}),
    ):
        found = signatures["serving_default" if "images" in request else "image_bytes"](**request)
        scores = model.detect(wanted, above=0)["scores"]
        np.testing.assert_allclose(found["detection_scores"][0, : len(scores)], scores, rtol=0, atol=1e-5)


def test_says_who_it_is(model, folder, signatures):
    assert folder.name == "7"
    assert (folder / "assets" / "classes.txt").read_text().split() == ["square", "disc"]
    facts = json.loads((folder / "assets" / "model.json").read_text())
    assert facts["resize"] == list(model.resize) and facts["classes"] == ["square", "disc"]
    said = signatures["metadata"]()
    assert said["class_names"].numpy().tolist() == [b"square", b"disc"]
    assert json.loads(said["facts"].numpy()) == facts


def test_warmup_requests_are_those_of_tensorflow_serving(folder, signatures):
    """Read by TensorFlow Serving's own classes, and answered."""
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    requests = [logs.PredictionLog.FromString(record).predict_log.request for record in records]
    assert [r.model_spec.signature_name for r in requests] == ["serving_default", "image_bytes"]
    for request in requests:
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        signatures[request.model_spec.signature_name](**{name: tf.constant(value) for name, value in inputs.items()})


def test_versions_follow(tmp_path):
    assert saved_model.next_version(tmp_path / "nowhere") == 1
    for version in ("2", "11", "notes"):
        (tmp_path / version).mkdir()
    assert saved_model.next_version(tmp_path) == 12


def test_a_version_that_was_cut_hides_none(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "7")
    (tmp_path / "8" / "variables").mkdir(parents=True)
    assert load(tmp_path).classes == ("square", "disc")
