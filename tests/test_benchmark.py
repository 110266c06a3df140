"""Operation counts by hand and as published, the arithmetic of the floor, the order of rounds, the report."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.benchmark import measure, models, operators
from kerasdet.benchmark.measure import Case
from kerasdet.decoding import candidates
from kerasdet.detectors import SSD, FasterRCNN, MaskRCNN, RetinaNet, YOLOv3
from kerasdet.load import build
from kerasdet.weights import torchvision

SPEED = {"matmul_gflops": 100.0, "best_matmul_gflops": 200.0}


def tiny(size=64, dtype=None, norm="frozen"):
    return RetinaNet(**{**RetinaNet.tiny(), "norm": norm, "dtype": dtype})


@pytest.fixture(scope="module")
def model():
    model = tiny()
    models.randomize(model, seed=1)
    return model


@pytest.fixture
def quick_machine(monkeypatch):
    """The machine's speed from less work."""
    monkeypatch.setattr(measure, "MATMUL_SIDE", 256)
    monkeypatch.setattr(measure, "COPY_BYTES", 2**20)


def count(function, *shapes):
    return measure.flops(measure.traced(function, *(tf.zeros(shape) for shape in shapes))[0])


def gradients(function, *tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = function(*tensors)
    return tape.gradient(y, tensors)


def convolution(x, kernel):
    return tf.nn.conv2d(x, kernel, 2, "SAME")


def test_flops_of_a_convolution():
    """2x5x6 outputs of 8 channels, each from 3x3x4 numbers."""
    assert count(convolution, (2, 9, 12, 4), (3, 3, 4, 8)) == 2 * (2 * 5 * 6 * 8) * (3 * 3 * 4)


def test_flops_of_a_grouped_convolution():
    """Each output sees the 2 channels of its group."""
    assert count(convolution, (1, 8, 8, 6), (3, 3, 2, 12)) == 2 * (4 * 4 * 12) * (3 * 3 * 2)


def test_flops_of_a_depthwise_convolution():
    def depthwise(x, kernel):
        return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")

    assert count(depthwise, (1, 8, 7, 6), (3, 3, 6, 2)) == 2 * (8 * 7 * 12) * (3 * 3)


@pytest.mark.parametrize("turn", [False, True])
def test_flops_of_matrix_products(turn):
    one = count(lambda a, b: tf.linalg.matmul(a, b, transpose_a=turn), (5, 3) if turn else (3, 5), (5, 7))
    many = count(lambda a, b: tf.linalg.matmul(a, b, transpose_a=turn), (4, 5, 3) if turn else (4, 3, 5), (4, 5, 7))
    assert one == 2 * 3 * 5 * 7
    assert many == 4 * one


def test_backward_costs_twice_the_forward():
    forward = count(convolution, (2, 9, 12, 4), (3, 3, 4, 8))
    assert count(lambda *tensors: gradients(convolution, *tensors), (2, 9, 12, 4), (3, 3, 4, 8)) == 3 * forward


def test_nothing_else_is_counted():
    assert count(lambda x: tf.nn.relu(x + 1) * 2, (4, 4)) == 0


def test_an_unknown_size_is_an_error():
    shapes = (tf.TensorSpec([1, None, None, 4]), tf.TensorSpec([3, 3, 4, 8]))
    function = tf.function(convolution).get_concrete_function(*shapes)
    with pytest.raises(ValueError, match="fixed sizes"):
        measure.flops(function)


def test_flops_of_retinanet():
    """193.8 and, forward and backward of two pictures of 512, 741.6 GFLOP by torch's counter on torchvision's model."""
    model = build(torchvision.arguments("retinanet_resnet50_fpn"), 91)

    def images(number, size):
        pixels = tf.TensorSpec([number, size, size, 3], tf.float32)
        return {"pixels": pixels, "windows": tf.TensorSpec([number, 4], tf.float32)}

    def step(images):
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model.network(images, training=True))
        return tape.gradient(outputs, model.trainable_variables)

    forward = tf.function(model.network).get_concrete_function(images(1, 640))
    assert measure.flops(forward) == pytest.approx(193.8e9, rel=0.01)
    assert measure.flops(tf.function(step).get_concrete_function(images(2, 512))) == pytest.approx(741.6e9, rel=0.01)


def test_row_against_hand_arithmetic():
    """50 GFLOP: 0.5 s at 100 GFLOP/s and 0.25 s at 200."""
    line = measure.row("a", Case(None, 50_000_000_000, 2, 7.5), [1.0, 0.5, 0.6], SPEED)
    expected = {
        "name": "a", "median_ms": 600, "best_ms": 500, "rounds": 3, "images_s": 2 / 0.6, "gflop": 50, "floor_ms": 500,
        "ratio": 1.2, "best_ratio": 2.0, "peak_mib": 7.5,
    }  # fmt: skip
    assert line == {key: value if key == "name" else pytest.approx(value) for key, value in expected.items()}


def test_row_without_a_floor():
    assert set(measure.row("a", Case(None), [1.0], SPEED)) == {"name", "median_ms", "best_ms", "rounds"}


def test_machine_rates():
    speed = measure.machine({"matmul": [0.2, 0.1, 0.4], "copy": [0.5, 0.25, 1.0]})
    assert speed["matmul_gflops"] == pytest.approx(17.179869184 / 0.2)
    assert speed["best_matmul_gflops"] == pytest.approx(17.179869184 / 0.1)
    assert speed["copy_gbs"] == pytest.approx(0.268435456 / 0.5)
    assert speed["best_copy_gbs"] == pytest.approx(0.268435456 / 0.25)


def test_rounds_are_interleaved_and_the_first_is_not_timed():
    calls = []
    seconds = measure.interleaved({name: Case(lambda name=name: calls.append(name)) for name in "abc"}, 3)
    assert "".join(calls) == "abc" * 4
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_memory_of_a_case_is_measured():
    case = measure.watched(lambda: Case(lambda: np.ones(2**27, np.uint8).sum()))
    assert case.peak_mib is None or 100 < case.peak_mib < 200


def test_randomized_weights(model):
    """No weight is constant, every score passes the threshold, and activations stay near 1."""
    for variable in model.variables:
        if len(variable.shape) and variable.dtype == "float32" and "seed" not in variable.path:
            assert np.ptp(variable.numpy()) > 0, variable.path
    images, _ = models.batch(model, 1, 64)
    logits = model.network(images)["logits"]
    assert 0.01 < float(tf.math.reduce_std(logits)) < 10
    assert float(tf.reduce_mean(tf.cast(tf.sigmoid(logits) > model.above, tf.float32))) > 0.9


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_number_of_scores_that_pass(scores):
    model = SSD(**{**SSD.tiny(), "scores": scores})
    models.randomize(model)
    images, _ = models.batch(model, 1, 64)
    models.admit(model, images, None)
    assert model.above == 0.01
    models.admit(model, images, 7)
    logits = model.network(images)["logits"]
    found = (tf.nn.softmax(logits) if scores == "softmax" else tf.sigmoid(logits))[..., 1:]
    assert np.sum(found >= model.above) == 7


def test_number_of_scores_that_pass_where_there_are_no_logits():
    model = YOLOv3(**YOLOv3.tiny())
    models.randomize(model)
    images, _ = models.batch(model, 1, 64)
    models.admit(model, images, 7)
    scores = [
        head.decode(raw, (64, 64))[1] for head, raw in zip(model.tops, model.network(images)["maps"], strict=True)
    ]
    assert sum(np.sum(part >= model.above) for part in scores) == 7


def test_traced_keeps_values_and_nests():
    def function(x, number, options):
        return {"y": x * number + options["b"][0]}

    options = {"b": (tf.constant(4.0), "word")}
    concrete, tensors = measure.traced(function, tf.constant([1.0, 2.0]), 3, options=options)
    assert len(tensors) == 2
    np.testing.assert_array_equal(concrete(*tensors)["y"], [7, 10])


def test_frozen_equals_called_and_ignores_new_weights(model):
    images, _ = models.batch(model, 1, 64)
    before = model.network(images)["logits"]
    case = measure.frozen(lambda images: model.network(images)["logits"], images)
    bias = model.class_head.predictor.bias
    old = bias.numpy()
    bias.assign(old + 1)
    np.testing.assert_allclose(tf.nest.flatten(case.run())[0], before, rtol=1e-4, atol=1e-4)
    bias.assign(old)


def test_recorded_restores_the_functions(model):
    top, images = candidates.top, models.batch(model, 1, 64)[0]
    targets = {"top": (candidates, "top"), "backbone": (model.backbone, "call"), "never": (ops, "soft_nms")}
    with models.recorded(targets) as calls:
        expected = model(images)
    assert list(calls) == ["backbone", "top"]
    assert candidates.top is top and "call" not in vars(model.backbone)
    function, arguments, options = calls["backbone"]
    features = function(*arguments, **options)
    assert [tuple(x.shape[1:3]) for x in features] == [(8, 8), (4, 4), (2, 2)]
    np.testing.assert_array_equal(model(images)["scores"], expected["scores"])


def test_a_tiny_model_end_to_end(quick_machine):
    made = []

    def make(dtype, norm, size):
        made.append((dtype, norm, size))
        return tiny(size, dtype, norm)

    reports = models.models(make, ["mixed_bfloat16"], ["frozen"], 64, 96, 2, rounds=2)
    reports = json.loads(json.dumps(reports))
    assert made == [("mixed_bfloat16", "frozen", size) for size in (64, 96)]
    whole = {line["name"]: line for line in reports["whole"]["cases"]}
    assert len(whole) == 4 and len(reports) == 3
    for name, line in whole.items():
        assert line["rounds"] == 2 and 0 < line["best_ms"] <= line["median_ms"]
        assert line["gflop"] > 0 and math.isclose(line["ratio"], line["median_ms"] / line["floor_ms"])
        assert math.isclose(line["images_s"], (1 if "inference" in name else 2) * 1000 / line["median_ms"])
    parts = {line["name"]: line for line in reports["inference 1x64 mixed_bfloat16"]["cases"]}
    assert {
        "preprocessing", "network", "network: backbone", "network: fpn", "network: class_head", "network: box_head",
        "post-processing", "post-processing: top", "post-processing: decode", "post-processing: per_class",
    } <= set(parts)  # fmt: skip
    total = sum(line["gflop"] for name, line in parts.items() if name.startswith("network: ") and "gflop" in line)
    assert total == pytest.approx(parts["network"]["gflop"])
    step = {line["name"]: line for line in reports["training 2x96 mixed_bfloat16 norm frozen"]["cases"]}
    assert set(step) == {
        "network forward", "network forward and backward", "loss with its gradient", "loss: by_iou", "loss: focal",
        "optimizer",
    }  # fmt: skip
    both = step["network forward and backward"]
    assert both["gflop"] == pytest.approx(whole["training 2x96 mixed_bfloat16 norm frozen"]["gflop"])


@pytest.mark.slow
def test_a_tiny_second_stage():
    """Heads that run on as many regions as there are to learn from are counted by what one step did."""
    made = []

    def make(dtype, norm, size):
        made.append(MaskRCNN(**{**MaskRCNN.tiny(), "norm": norm, "dtype": dtype, "roi_batch": 96}))
        return made[-1]

    reports = json.loads(json.dumps(models.models(make, ["float32"], ["frozen"], 64, 96, 2, rounds=1, passing=20)))
    learner = made[1]
    images, objects = models.batch(learner, 2, 96)
    outputs = learner.network(images, training=True)
    regions = learner.sampled(outputs, objects, images)
    real = int(tf.reduce_sum(tf.cast(regions.valid, tf.int32)))
    assert 0 < real < 2 * 96
    rows = 2 * regions.boxes.shape[1]
    head = 2 * (real * 4 * 4 * 32 * 64 + rows * 64 * (3 + 12))  # fc6 on real regions; classes and boxes
    assert head == measure.performed(learner.head, outputs["features"], regions.boxes, training=True)
    parts = {
        line["name"]: line["gflop"] for line in reports["training 2x96 float32 norm frozen"]["cases"] if "gflop" in line
    }
    whole = {line["name"]: line["gflop"] for line in reports["whole"]["cases"]}["training 2x96 float32 norm frozen"]
    assert parts["loss with its gradient"] > 3e-9 * head
    assert whole == pytest.approx(parts["network forward and backward"] + parts["loss with its gradient"], rel=0.05)
    found = {line["name"] for line in reports["inference 1x64 float32"]["cases"]}
    assert {
        "network: rpn",
        "network: mask_head",
        "post-processing: proposals",
        "post-processing: region_features",
    } <= found


def test_number_of_region_scores_that_pass():
    model = FasterRCNN(**FasterRCNN.tiny())
    models.randomize(model)
    images, _ = models.batch(model, 1, 64)
    models.admit(model, images, 9)
    outputs = model.network(images)
    scores = tf.nn.softmax(model.head(outputs["features"], outputs["proposals"])["logits"])[0, :, 1:]
    real = tf.reduce_sum(outputs["proposals"][0, :, 2:] - outputs["proposals"][0, :, :2], axis=-1) > 0
    assert np.sum(tf.boolean_mask(scores, real) >= model.above) == 9


def test_the_tool_names_what_it_measures():
    command = [sys.executable, "-m", "tools.benchmark", "speed"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "error: say what to measure, models, ops, input, got 'speed'." in result.stderr


def test_operators_on_small_sizes(quick_machine):
    """Every operator is measured on both ways beside stock TensorFlow, and what it copies is counted."""
    reports = json.loads(json.dumps(operators.operators(rounds=2, beside=False, small=20)))
    assert set(reports) == {"native", "twin", "suppression", "matching"}
    names = {name: {line["name"]: line for line in report["cases"]} for name, report in reports.items()}
    regions = set(operators.region_cases(20))
    for way in ("native", "twin"):
        expected = {name for name in regions if way == "native" or not name.startswith("crop")}
        assert set(names[way]) == {f"{name} {what}" for name in expected for what in ("forward", "with gradients")}
        for line in names[way].values():
            assert line["copies"] == pytest.approx(line["median_ms"] / line["copy_ms"])
    _, features, _ = operators.region_cases(20)["roi_align P2"]
    assert features.shape == (1, 10, 10, 12)
    line = names["native"]["roi_align P2 forward"]
    assert line["gbs"] * line["median_ms"] * 1e6 == pytest.approx(4 * (10 * 10 * 12 + 50 * 49 * 12))
    assert {name.split(",")[-1] for name in names["suppression"]} > {" stock TensorFlow", " twin"}
    assert {f"by_iou 3836 x 250{way}" for way in ("", ", twin")} < set(names["matching"])
    line = names["matching"]["one_to_one 1680 x 50"]
    assert line["pair_ns"] == pytest.approx(1e6 * line["median_ms"] / (1680 * 50))


def test_stock_forms_do_the_same_work():
    """RoIAlign by `crop_and_resize` inside the map, and the numbers of boxes that suppression keeps."""
    function, features, rois = operators.region_cases(10)["roi_align P4"]
    inside = tf.constant([[0, 20.0, 20.0, 55.0, 48.0]])
    np.testing.assert_allclose(
        function(features, inside), operators.cropped(features, inside, 1 / 16), rtol=1e-4, atol=1e-5
    )
    ours, stock = operators.suppression_cases(20)
    for name in ours:
        kept = int(tf.reduce_sum(tf.cast(ours[name]()[2], tf.int32)))
        theirs = stock[name]()
        count = theirs.valid_detections[0] if "classes" in name else tf.shape(tf.nest.flatten(theirs)[0])[0]
        assert kept == int(count) > 10
