"""What every detector's exports keep: they say what Keras says, without kerasdet and on stock operators."""

import concurrent.futures
import fcntl
import functools
import os
import pathlib
import pickle
import shutil
import subprocess

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerasdet.export import report, saved_model
from kerasdet.load import load

PICTURES = [(96, 72), (61, 130)]


@pytest.fixture(scope="session")
def folder(trained, tmp_path_factory):
    return saved_model.write(trained, tmp_path_factory.mktemp("served"), version=1)


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


def test_saved_model_says_what_keras_says(trained, folder, picture, proposals, stranger, tmp_path):
    """In a process that never sees kerasdet: batches of three and of one, portrait and landscape, pixels and files."""
    batches, given = {}, {}
    for height, width in PICTURES:
        for count in (1, 3):
            name = f"{height}-{count}"
            batches[name] = np.stack([np.roll(picture(height, width), 5 * i, axis=1) for i in range(count)])
            np.save(tmp_path / f"{name}.npy", batches[name])
            given[name] = [own[None].repeat(count, axis=0) for own in proposals(height, width)]
        keras.utils.save_img(tmp_path / f"{height}.png", picture(height, width), scale=False)
    given["files"] = [np.concatenate(own) for own in zip(*(given[f"{h}-1"] for h, _ in sorted(PICTURES)), strict=True)]
    (tmp_path / "proposals").mkdir()
    for name, boxes in given.items():
        for own in boxes:
            np.save(tmp_path / "proposals" / f"{name}.npy", own)
    stranger.ask(saved_model=str(folder), requests=str(tmp_path))
    answers = np.load(tmp_path / "answers.npz")
    assert b"Kerasdet>" not in (folder / "saved_model.pb").read_bytes()
    seen = 0
    for name, pixels in batches.items():
        wanted = expected(trained, pixels, *given[name])
        found = {key: answers[f"serving_default.{name}.{key}"] for key in wanted}
        check(found, wanted, *pixels.shape[1:3])
        seen += found["num_detections"].sum()
    for i, (height, width) in enumerate(sorted(PICTURES)):
        wanted = expected(trained, picture(height, width)[None], *given[f"{height}-1"])
        for signature in ("image_bytes", "tf_example"):
            found = {key: answers[f"{signature}.files.{key}"][i : i + 1] for key in wanted}
            check(found, wanted, height, width)
    assert seen > 0


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A program around TensorFlow's own loader of SavedModels, which TensorFlow Serving uses; one for all workers."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    home, shared = pathlib.Path(tf.__file__).parent, tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    program = shared / "serve"
    with open(shared / "serve.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
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


@pytest.mark.slow
def test_tensorflows_own_loader_runs_every_signature(trained, folder, server, picture, tmp_path):
    height, width = PICTURES[0]
    pixels = picture(height, width)
    keras.utils.save_img(tmp_path / "a.png", pixels, scale=False)
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    command = [server, folder, tmp_path / "a.png", tmp_path / "pixels", height, width]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    said = {(signature, output): values for signature, output, values in lines}
    assert said["metadata", "class_names"].split() == list(trained.classes)
    boxes = np.float32([[[0, 0, width, height], [0, 0, width / 2, height / 2]]] * 2)
    wanted = expected(trained, pixels[None].repeat(2, axis=0), *([boxes] if trained.needs_proposals else []))
    for signature in ("serving_default", "float_images", "image_bytes", "tf_example"):
        found = {name: np.float32(said[signature, name].split()).reshape(wanted[name].shape) for name in wanted}
        check(found, wanted, height, width)
    for signature in ("image_bytes", "tf_example"):
        assert said[signature, "refuses"] == "INVALID_ARGUMENT"


@pytest.mark.slow
def test_good_and_bad_requests_mixed(trained, folder, server, picture, tmp_path):
    """A thousand from eight threads: no wrong answer, and the memory is flat."""
    height, width = PICTURES[0]
    keras.utils.save_img(tmp_path / "a.png", picture(height, width), scale=False)
    (tmp_path / "pixels").write_bytes(picture(height, width).tobytes())
    command = [server, folder, tmp_path / "a.png", tmp_path / "pixels", height, width, 1000]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = dict(zip(done.stdout.split()[::2], map(int, done.stdout.split()[1::2]), strict=True))
    print(type(trained).__name__, said)
    assert (said["good"], said["refused"], said["wrong"]) == (500, 500, 0)
    assert said["grown"] < 50e6


@pytest.fixture(scope="session")
def size(trained):
    """(height, width) of the pictures that TFLite files of one size take."""
    return tuple(trained.resize[1:]) if trained.fixed else PICTURES[0]


@pytest.fixture(scope="session")
def one_size(trained, size, tmp_path_factory):
    """A TFLite file of float32 that takes pictures of one size."""
    file = tmp_path_factory.mktemp("lite") / "float32.tflite"
    trained.export(file, format="litert", size=size)
    return file


@pytest.mark.parametrize("kind", ["any size", pytest.param("one size", marks=pytest.mark.slow)])
def test_tflite_says_what_keras_says(trained, kind, size, request, picture, proposals, tmp_path):
    """On builtin operators; also that there is nothing on an empty picture."""
    if kind == "one size":
        file, sizes = request.getfixturevalue("one_size"), [size]
    else:
        file, sizes = tmp_path / "any.tflite", PICTURES
        trained.export(file, format="litert")
    assert not [kind for kind in report.operators(file) if kind.startswith(("CUSTOM", "Flex"))]
    opened, seen = load(file), 0
    for height, width in sizes:
        more = (0.0, None, *proposals(height, width))
        wanted, found = (one.detect(picture(height, width), *more) for one in (trained, opened))
        seen += len(wanted["scores"])
        np.testing.assert_array_equal(found["classes"], wanted["classes"])
        np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found["boxes"], wanted["boxes"], rtol=0, atol=0.05)
        assert found["names"] == wanted["names"]
        if "masks" in wanted:
            assert np.count_nonzero(found["masks"] != wanted["masks"]) <= 1e-3 * wanted["masks"].size
        if "keypoints" in wanted:
            np.testing.assert_allclose(found["keypoints"], wanted["keypoints"], rtol=0, atol=0.05)
    assert seen > 0
    empty, more = np.zeros([*sizes[0], 3], np.uint8), (0.0, None, *proposals(*sizes[0]))
    assert len(opened.detect(empty, *more)["scores"]) == len(trained.detect(empty, *more)["scores"])


ONE = pytest.param("RetinaNet", marks=pytest.mark.xdist_group("contract-RetinaNet"))


@pytest.mark.parametrize("name", [ONE], indirect=True)
def test_three_forms_have_one_door(trained, folder, one_size, size, picture):
    """Keras, a SavedModel and a TFLite file take and refuse the same pictures, also pickled, also in four threads."""
    forms = {"Keras": trained, "SavedModel": load(folder), "TFLite": load(one_size)}
    forms |= {f"pickled {name}": pickle.loads(pickle.dumps(forms[name])) for name in ("SavedModel", "TFLite")}
    pixels = picture(*size)
    for name, one in forms.items():
        wanted = one.detect(pixels, above=0.05)
        assert len(wanted["scores"]) and wanted["names"] == trained.detect(pixels, above=0.05)["names"], name
        given = [PIL.Image.fromarray(pixels), pixels.astype(np.float32), *[pixels] * 30]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for found in pool.map(functools.partial(one.detect, above=0.05), given):
                np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=1e-4, err_msg=name)
        for wrong in (
            pixels / 255.0,
            pixels / 127.5 - 1,
            pixels > 9,
            np.uint16(pixels),
            pixels[:0],
            None,
            b"no image",
            {},
        ):
            said = []
            for door in (trained, one):
                with pytest.raises(ValueError, match="^picture 1") as refused:
                    door.detect(iter([pixels, wrong]))
                said.append(str(refused.value))
            assert said[0] == said[1] and "\n" not in said[0], name
    floats = tf.saved_model.load(folder).signatures["float_images"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="images must hold RGB pixels 0...255, got"):
        floats(tf.constant(pixels[None] / 255.0, tf.float32))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float16", "dynamic", "int8"])
def test_smaller_tflite_files_run(trained, kind, size, one_size, picture, proposals, tmp_path):
    """They find most of what Keras finds, and their weights are a half or a quarter."""
    pictures = [picture(*size), np.roll(picture(*size), 9, axis=0)]
    if trained.needs_proposals:
        pictures = [(one, *proposals(*size)) for one in pictures]
    file = tmp_path / f"{kind}.tflite"
    if kind == "int8" and trained.num_keypoints:
        with pytest.raises(ValueError, match=f"{type(trained).__name__} has a loop .*; take 'dynamic'"):
            trained.export(file, format="litert", kind=kind, size=size, examples=pictures)
        return
    trained.export(file, format="litert", kind=kind, size=size, examples=pictures if kind == "int8" else ())
    assert report.size(file) < (0.7 if kind == "float16" else 0.6) * report.size(one_size)
    numbers = report.differences(trained, load(file), pictures, above=0.05)
    assert numbers["detections"] > 0 and numbers["missing"] <= numbers["detections"] // 3, numbers
