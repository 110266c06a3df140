"""The library of native operators: what is loaded, what is refused and why, and that exports do not contain it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.detectors import RetinaNet
from kerasdet.ops import library

needs_library = pytest.mark.skipif(library.load() is None, reason="the native operators are not built")


def run(code, **environment):
    """What a fresh process prints and warns."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=pathlib.Path(__file__).parents[2], env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.fixture
def copy(tmp_path):
    """A copy of the built library with its stamp."""
    for file in (library.FILE, library.FILE.with_suffix(".json")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / library.FILE.name


def restamp(file, **changes):
    stamp = file.with_suffix(".json")
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), **changes}))


@needs_library
def test_intact_library_has_no_problem(copy):
    assert library.problem(copy) is None


@needs_library
@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"tensorflow": "2.5.0"}, "it was built for tensorflow 2.5.0, here it is"),
        ({"abi": 0}, "it was built for abi 0"),
        ({"processor": "sparc"}, "it was built for processor sparc"),
        ({"vector_sets": ["avx1024"]}, "it was built for a processor with avx1024"),
    ],
)
def test_built_for_another_machine(copy, changes, reason):
    restamp(copy, **changes)
    assert reason in library.problem(copy)


@needs_library
def test_damaged(copy):
    copy.write_bytes(copy.read_bytes()[:5000])
    assert library.problem(copy) == "the file is damaged"
    copy.with_suffix(".json").write_text("{")
    assert library.problem(copy) == "its stamp is damaged"
    copy.unlink()
    assert library.problem(copy) == "it has not been built"


ALIGN = (
    "import warnings, tensorflow as tf; warnings.simplefilter('always'); from kerasdet import ops\n"
    "from kerasdet.ops import library; import pathlib\n"
    "library.FILE = pathlib.Path({file!r})\n"
    "x = tf.ones([1, 4, 4, 2])\n"
    "for _ in range(2): print(float(ops.roi_align(x, [[0., 0, 0, 4, 4]], 1.0, 1)[0, 0, 0, 0]))\n"
    "print(library.native() is not None)"
)


@needs_library
@pytest.mark.parametrize("damage", ["none", "truncated", "another TensorFlow", "missing"])
def test_in_a_fresh_process(copy, damage):
    """Whatever lies there, the operator runs; a library that cannot serve gives one warning that says what to do."""
    if damage == "truncated":
        copy.write_bytes(copy.read_bytes()[:5000])
    elif damage == "another TensorFlow":
        restamp(copy, tensorflow="2.5.0")
    elif damage == "missing":
        copy.unlink()
    printed, warned = run(ALIGN.format(file=str(copy)))
    assert printed.split() == ["1.0", "1.0", str(damage == "none")]
    assert warned.count("the native operators are not used") == (damage != "none")
    assert ("custom_ops.build" in warned) == (damage != "none")


def test_switched_off():
    printed, warned = run(ALIGN.format(file=str(library.FILE)), KERASDET_NATIVE="0")
    assert printed.split() == ["1.0", "1.0", "False"]
    assert "native operators" not in warned


def test_report():
    done = subprocess.run(
        [sys.executable, "-m", "kerasdet.ops.library"], capture_output=True, text=True, check=True,
        cwd=pathlib.Path(__file__).parents[2],
    )  # fmt: skip
    assert tf.version.VERSION in done.stdout and str(library.FILE) in done.stdout
    assert ("loaded: corner_pool, " in done.stdout) == (library.load() is not None)


ALL = {
    "roi_align": lambda x, rois: ops.roi_align([x, x[:, ::2, ::2]], rois, (1.0, 0.5), 3, 2, levels=[0, 1]),
    "roi_align, adaptive": lambda x, rois: ops.roi_align(x, rois, 0.5, 3),
    "roi_pool": lambda x, rois: ops.roi_pool(x, rois, 0.5, 3),
    "ps_roi_align": lambda x, rois: ops.ps_roi_align(x, rois, 0.5, (2, 3), 2),
    "ps_roi_pool": lambda x, rois: ops.ps_roi_pool(x, rois, 0.5, (2, 3)),
    "prroi_pool": lambda x, rois: ops.prroi_pool(x, rois, 0.5, 3),
    "corner_pool": lambda x, rois: ops.corner_pool(x, "left"),
    "deform_columns": lambda x, rois: ops.deform_columns(x, 3 * x[..., :8], x[..., 8:], (2, 2), padding=(0, 0)),
    "nms": lambda x, rois: ops.nms(rois[None, :, 1:], rois[None, :, 3], None, 0.5, 0.0, 5)[1],
    "soft_nms": lambda x, rois: ops.soft_nms(rois[None, :, 1:], rois[None, :, 3], None, 5)[1],
}
FEATURES = np.random.default_rng(0).normal(size=(1, 12, 14, 12)).astype(np.float32)
ROIS = np.float32([[0, 1, 2, 11, 9], [0, 3, 1, 20, 22]])


@needs_library
@pytest.mark.parametrize("name", ALL)
def test_exports_contain_no_custom_operator(name, tmp_path):
    """A graph traced inside `portable` after a native one: stock operators only, in TensorFlow and in TFLite."""
    native = ALL[name](FEATURES, ROIS)
    specs = [tf.TensorSpec(FEATURES.shape, name="x"), tf.TensorSpec(ROIS.shape, name="rois")]
    with ops.portable():
        graph = tf.function(ALL[name]).get_concrete_function(*specs)
    with ops.portable(lite=True):
        lite = tf.function(ALL[name]).get_concrete_function(*specs)
    definitions = [graph.graph.as_graph_def(), *graph.graph.as_graph_def().library.function]
    used = {node.op for d in definitions for node in (d.node if hasattr(d, "node") else d.node_def)}
    assert len(used) > 5 and not [op for op in used if op.startswith("Kerasdet")]
    np.testing.assert_allclose(graph(tf.constant(FEATURES), tf.constant(ROIS)), native, rtol=1e-4, atol=1e-5)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([lite])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], FEATURES if len(detail["shape"]) == 4 else ROIS)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, native, rtol=1e-4, atol=1e-5)


def test_precise_pooling_under_a_tape_converts(tmp_path):
    """IoU-Net moves boxes along their gradient at test time: that graph too is made of TFLite's builtin operators."""

    def slope(x, rois):
        with tf.GradientTape() as tape:
            tape.watch(rois)
            total = tf.reduce_sum(ops.prroi_pool(x, rois, 0.5, 3))
        return tape.gradient(total, rois)

    native = slope(tf.constant(FEATURES), tf.constant(ROIS))
    with ops.portable():
        graph = tf.function(slope).get_concrete_function(tf.TensorSpec(FEATURES.shape), tf.TensorSpec(ROIS.shape))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], FEATURES if len(detail["shape"]) == 4 else ROIS)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.abs(native).max() > 0.1
    np.testing.assert_allclose(found, native, rtol=1e-3, atol=1e-4)


class WithNms(RetinaNet):
    """A detector that calls a native operator."""

    def detections(self, outputs, images):
        boxes = tf.stop_gradient(outputs["deltas"]) * 50 + [0.0, 0.0, 20.0, 20.0]
        scores = tf.reduce_max(tf.sigmoid(outputs["logits"]), axis=-1)
        indices, scores, valid = ops.nms(boxes, scores, None, 0.5, 0.0, 10)
        return {
            "boxes": tf.gather(boxes, indices, batch_dims=1),
            "scores": scores,
            "classes": tf.where(valid, 0, -1),
            "counts": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
        }


@needs_library
def test_exported_detector_contains_no_custom_operator(tmp_path):
    model = WithNms(**RetinaNet.tiny())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    expected = model(pixels)  # runs natively
    model.export(tmp_path / "saved", verbose=False)
    graph = (tmp_path / "saved" / "saved_model.pb").read_bytes()
    assert b"Conv2D" in graph and b"Kerasdet>" not in graph
    found = tf.saved_model.load(tmp_path / "saved").signatures["serving_default"](tf.constant(pixels))
    assert int(tf.reduce_sum(expected["counts"])) > 1
    boxes = found["detection_boxes"].numpy()[..., [1, 0, 3, 2]] * [96, 64, 96, 64]
    np.testing.assert_allclose(boxes, expected["boxes"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["detection_scores"], expected["scores"], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(found["num_detections"], expected["counts"])
