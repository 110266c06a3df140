"""What every detector's exports keep: they say what Keras says, without kerasdet and on stock operators."""

import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import DETECTORS
from kerasdet.export import report, saved_model
from kerasdet.load import load
from tests.contract import scenes

PICTURES = [(96, 72), (61, 130)]


def picture(height, width):
    """Noise with two objects."""
    pixels = np.random.default_rng(height).integers(60, 90, [height, width, 3], np.uint8)
    pixels[20:50, 12:40] = 230, 40, 60
    pixels[30:60, 45:70] = 40, 90, 230
    return pixels


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def model(request):
    """Trained for some steps, so that scores differ by more than rounding."""
    keras.utils.set_random_seed(5)
    made = DETECTORS[request.param](**DETECTORS[request.param].tiny())
    images, objects = scenes.batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)], proposals=made.needs_proposals)
    boxes = [term for term in made.terms if term not in ("mask", "keypoint")]
    made.compile(keras.optimizers.Adam(3e-3), clip_norm=10.0, terms=boxes)
    made.fit(tf.data.Dataset.from_tensors((images, objects)).repeat(), steps_per_epoch=60, epochs=1, verbose=0)
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return saved_model.write(model, tmp_path_factory.mktemp("served"), version=1)


def proposals(model, height, width):
    """Further arguments of `detect` for a picture of a size."""
    return (scenes.grid(height, width),) if model.needs_proposals else ()


def expected(model, pixels, *given):
    """Keras' detections of a batch by the names of the export."""
    found = {name: value.numpy() for name, value in model._in_pixels(pixels, *given).items()}
    height, width = pixels.shape[1:3]
    said = {
        "detection_boxes": found["boxes"][..., [1, 0, 3, 2]] / [height, width, height, width],
        "detection_scores": found["scores"],
        "detection_classes": found["classes"],
        "num_detections": found["counts"],
    }
    if "masks" in found:
        said["detection_masks"] = found["masks"]
    if "keypoints" in found:
        said["detection_keypoints"] = found["keypoints"][..., [1, 0]] / [height, width]
        said["detection_keypoint_scores"] = found["keypoints"][..., 2]
    return said


def check(found, wanted, height, width):
    """Boxes within 1e-3 pixels, scores within 1e-5, in the same order."""
    sides = [height, width, height, width]
    np.testing.assert_array_equal(found["num_detections"], wanted["num_detections"])
    np.testing.assert_array_equal(found["detection_classes"], wanted["detection_classes"])
    np.testing.assert_allclose(found["detection_scores"], wanted["detection_scores"], rtol=0, atol=1e-5)
    boxes = (found["detection_boxes"] * sides, wanted["detection_boxes"] * sides)
    np.testing.assert_allclose(*boxes, rtol=0, atol=1e-3)
    for name in wanted.keys() - {"detection_boxes", "detection_scores"}:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-4)


def test_saved_model_says_what_keras_says(model, folder, tmp_path):
    """In a process that never sees kerasdet: batches of three and of one, portrait and landscape, pixels and files."""
    batches, given = {}, {}
    for height, width in PICTURES:
        for count in (1, 3):
            name = f"{height}-{count}"
            batches[name] = np.stack([np.roll(picture(height, width), 5 * i, axis=1) for i in range(count)])
            np.save(tmp_path / f"{name}.npy", batches[name])
            given[name] = [own[None].repeat(count, axis=0) for own in proposals(model, height, width)]
        keras.utils.save_img(tmp_path / f"{height}.png", picture(height, width), scale=False)
    given["files"] = [np.concatenate(own) for own in zip(*(given[f"{h}-1"] for h, _ in sorted(PICTURES)), strict=True)]
    (tmp_path / "proposals").mkdir()
    for name, boxes in given.items():
        for own in boxes:
            np.save(tmp_path / "proposals" / f"{name}.npy", own)
    command = [sys.executable, "-m", "tests.export.stranger", str(folder), str(tmp_path)]
    subprocess.run(command, check=True, cwd=pathlib.Path(__file__).parents[2])
    answers = np.load(tmp_path / "answers.npz")
    assert b"Kerasdet>" not in (folder / "saved_model.pb").read_bytes()
    seen = 0
    for name, pixels in batches.items():
        wanted = expected(model, pixels, *given[name])
        found = {key: answers[f"serving_default.{name}.{key}"] for key in wanted}
        check(found, wanted, *pixels.shape[1:3])
        seen += found["num_detections"].sum()
    for i, (height, width) in enumerate(sorted(PICTURES)):
        wanted = expected(model, picture(height, width)[None], *given[f"{height}-1"])
        found = {key: answers[f"image_bytes.files.{key}"][i : i + 1] for key in wanted}
        check(found, wanted, height, width)
    assert seen > 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A program around TensorFlow's own loader of SavedModels, which TensorFlow Serving uses."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    home = pathlib.Path(tf.__file__).parent
    program = tmp_path_factory.mktemp("program") / "serve"
    subprocess.run(
        [
            compiler, "-O1", "-std=c++17", "-w", "-DNDEBUG", *tf.sysconfig.get_compile_flags()[1:], "-isystem",
            tf.sysconfig.get_include(), str(pathlib.Path(__file__).parents[1] / "native" / "serve.cc"), "-o",
            str(program), f"-L{home}", "-Wl,--no-as-needed", "-l:libtensorflow_cc.so.2",
            "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{home}",
        ],
        check=True,
    )  # fmt: skip
    return program


def test_tensorflows_own_loader_runs_every_signature(model, folder, server, tmp_path):
    height, width = PICTURES[0]
    pixels = picture(height, width)
    keras.utils.save_img(tmp_path / "a.png", pixels, scale=False)
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    command = [server, folder, tmp_path / "a.png", tmp_path / "pixels", height, width]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    said = {(signature, output): values for signature, output, values in lines}
    assert said["metadata", "class_names"].split() == list(model.classes)
    boxes = np.float32([[[0, 0, width, height], [0, 0, width / 2, height / 2]]] * 2)
    wanted = expected(model, pixels[None].repeat(2, axis=0), *([boxes] if model.needs_proposals else []))
    for signature in ("serving_default", "float_images", "image_bytes", "tf_example"):
        found = {name: np.float32(said[signature, name].split()).reshape(wanted[name].shape) for name in wanted}
        check(found, wanted, height, width)
    for signature in ("image_bytes", "tf_example"):
        assert said[signature, "refuses"] == "INVALID_ARGUMENT"


@pytest.fixture(scope="module", params=["any size", "one size"])
def lite(request, model, tmp_path_factory):
    """A TFLite file of float32, and its size."""
    size = None if request.param == "any size" else PICTURES[0]
    file = tmp_path_factory.mktemp("lite") / "model.tflite"
    model.export(file, format="litert", size=size)
    return file, size


def test_tflite_says_what_keras_says(model, lite):
    """On builtin operators; also that there is nothing on an empty picture."""
    file, size = lite
    assert not [kind for kind in report.operators(file) if kind.startswith(("CUSTOM", "Flex"))]
    pictures = [picture(*PICTURES[0])] if size else [picture(*one) for one in PICTURES]
    opened, seen = load(file), 0
    for pixels in pictures:
        more = (0.0, None, *proposals(model, *pixels.shape[:2]))
        wanted, found = model.detect(pixels, *more), opened.detect(pixels, *more)
        seen += len(wanted["scores"])
        np.testing.assert_array_equal(found["classes"], wanted["classes"])
        np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found["boxes"], wanted["boxes"], rtol=0, atol=0.05)
        assert found["names"] == wanted["names"]
        if "masks" in wanted:
            assert np.mean(found["masks"] != wanted["masks"]) < 1e-3
        if "keypoints" in wanted:
            np.testing.assert_allclose(found["keypoints"], wanted["keypoints"], rtol=0, atol=0.05)
    assert seen > 0
    empty = np.zeros_like(pictures[0])
    more = (0.0, None, *proposals(model, *empty.shape[:2]))
    assert len(opened.detect(empty, *more)["scores"]) == len(model.detect(empty, *more)["scores"])


@pytest.mark.parametrize("kind", ["float16", "dynamic", "int8"])
def test_smaller_tflite_files_run(model, tmp_path, kind):
    """They find most of what Keras finds, and their weights are a half or a quarter."""
    pictures = [picture(*PICTURES[0]), np.roll(picture(*PICTURES[0]), 9, axis=0)]
    if model.needs_proposals:
        pictures = [(one, *proposals(model, *PICTURES[0])) for one in pictures]
    examples = pictures if kind == "int8" else ()
    if kind == "int8" and model.num_keypoints:
        with pytest.raises(ValueError, match=f"{type(model).__name__} has a loop .*; take 'dynamic'"):
            model.export(tmp_path / "int8.tflite", format="litert", kind=kind, size=PICTURES[0], examples=pictures)
        return
    for name in ("float32", kind):
        model.export(tmp_path / f"{name}.tflite", format="litert", kind=name, size=PICTURES[0], examples=examples)
    file = tmp_path / f"{kind}.tflite"
    assert report.size(file) < (0.7 if kind == "float16" else 0.6) * report.size(tmp_path / "float32.tflite")
    numbers = report.differences(model, load(file), pictures, above=0.05)
    assert numbers["detections"] > 0 and numbers["missing"] <= numbers["detections"] // 3, numbers
