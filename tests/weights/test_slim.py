"""SSD on MobileNets of TensorFlow's Object Detection API: its network in plain operators, under its names, and ours."""

import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, types_pb2

from kerasdet import coders
from kerasdet.detectors import SSD, ssd
from kerasdet.detectors.detector import Detector
from kerasdet.weights import checkpoints, files, presets, recognize, released
from tests import companion
from tests.weights.test_automl import AVERAGE, write

# Channels and strides of MobileNetV1's separable convolutions; channels, repetitions and strides of MobileNetV2's rows.
V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
V2 = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
EXTRAS = (512, 256, 256, 128)


class Release:
    """A network of the release on a picture; its weights are drawn when they are first asked for.

    Args:
        version: 1 or 2 of MobileNet.
        alpha: depth multiplier.
        extras, heads: whether extra layers and heads are separable.
        size: of the heads' kernels.
        classes: their number.
    """

    def __init__(self, version, alpha=1.0, extras=False, heads=False, size=1, classes=2):
        self.version, self.alpha, self.separable = version, alpha, (extras, heads)
        self.size, self.classes = size, classes
        self.rng, self.tensors = np.random.default_rng(version), {}

    def tensor(self, name, *shape, low=None, high=None):
        if name not in self.tensors:
            fan = np.prod(shape[:2]) * (1 if name.endswith("depthwise_weights") else shape[2]) if len(shape) > 1 else 4
            drawn = self.rng.normal(0, np.sqrt(1 / fan), shape) if low is None else self.rng.uniform(low, high, shape)
            self.tensors[name] = drawn.astype(np.float32)
        return self.tensors[name]

    def normed(self, x, scope, activation):
        gamma, variance = (self.tensor(f"{scope}/BatchNorm/{n}", x.shape[-1], low=0.5, high=1.5) for n in NORM[::3])
        beta, mean = (self.tensor(f"{scope}/BatchNorm/{n}", x.shape[-1], low=-0.2, high=0.2) for n in NORM[1:3])
        x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 0.001)
        return tf.nn.relu6(x) if activation else x

    def conv(self, x, scope, filters, size=1, stride=1, activation=True):
        kernel = self.tensor(f"{scope}/weights", size, size, x.shape[-1], filters)
        return self.normed(tf.nn.conv2d(x, kernel, stride, "SAME"), scope, activation)

    def depthwise(self, x, scope, stride=1):
        kernel = self.tensor(f"{scope}/depthwise_weights", 3, 3, x.shape[-1], 1)
        return self.normed(tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME"), scope, True)

    def v1(self, x):
        scope, maps = "FeatureExtractor/MobilenetV1/Conv2d_", []
        x = self.conv(x, f"{scope}0", int(32 * self.alpha), 3, 2)
        for i, (channels, stride) in enumerate(V1, start=1):
            x = self.depthwise(x, f"{scope}{i}_depthwise", stride)
            x = self.conv(x, f"{scope}{i}_pointwise", int(channels * self.alpha))
            maps.append(x)
        return [maps[10], maps[12]], f"{scope}13_pointwise"

    def v2(self, x):
        scope, block = "FeatureExtractor/MobilenetV2", 0
        x = self.conv(x, f"{scope}/Conv", 32, 3, 2)
        for channels, repeated, stride in V2:
            for own in (stride, *[1] * (repeated - 1)):
                name, inner = f"{scope}/expanded_conv" + (f"_{block}" if block else ""), x
                if block:
                    inner = self.conv(inner, f"{name}/expand", 6 * x.shape[-1])
                if block == 13:
                    first = inner
                inner = self.depthwise(inner, f"{name}/depthwise", own)
                inner = self.conv(inner, f"{name}/project", channels, activation=False)
                x = inner + x if own == 1 and x.shape[-1] == channels else inner
                block += 1
        return [first, self.conv(x, f"{scope}/Conv_1", 1280)], f"{scope}/layer_19"

    def head(self, x, scope, outputs):
        size = self.size
        if self.separable[1]:
            x, size = self.depthwise(x, f"{scope}_depthwise"), 1
        kernel = self.tensor(f"{scope}/weights", size, size, x.shape[-1], outputs)
        return tf.nn.conv2d(x, kernel, 1, "SAME") + self.tensor(f"{scope}/biases", outputs, low=-1, high=1)

    def __call__(self, pixels):
        """Logits [A, 1 + K], codes [A, 4], and cells a side of every map, of a picture [300, 300, 3]."""
        maps, base = (self.v1 if self.version == 1 else self.v2)(2 / 255 * np.float32(pixels)[None] - 1)
        for i, channels in enumerate((int(self.alpha * one) for one in EXTRAS), start=2):
            x = self.conv(maps[-1], f"{base}_1_Conv2d_{i}_1x1_{channels // 2}", channels // 2)
            name, size, stride = f"{base}_2_Conv2d_{i}_3x3_s2_{channels}", 3, 2
            if self.separable[0]:
                x, size, stride = self.depthwise(x, f"{name}_depthwise", 2), 1, 1
            maps.append(self.conv(x, name, channels, size, stride))
        logits, codes = [], []
        for i, x in enumerate(maps):
            boxes = 6 if i else 3
            codes.append(tf.reshape(self.head(x, f"BoxPredictor_{i}/BoxEncodingPredictor", 4 * boxes), [-1, 4]))
            scores = self.head(x, f"BoxPredictor_{i}/ClassPredictor", boxes * (1 + self.classes))
            logits.append(tf.reshape(scores, [-1, 1 + self.classes]))
        return np.concatenate(logits), np.concatenate(codes), [x.shape[1] for x in maps]


NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def anchors(sides, third):
    """The release's default boxes: center y, center x, height, width in parts of the picture."""
    scales, found = [0.2 + 0.15 * i for i in range(6)] + [1.0], []
    for i, side in enumerate(sides):
        s = scales[i]
        shapes = [(s, 1.0), (s, 2.0), (s, 0.5), (s, 3.0), (s, third), (np.sqrt(s * scales[i + 1]), 1.0)]
        for y in range(side):
            for x in range(side):
                for scale, ratio in shapes if i else [(0.1, 1.0), (s, 2.0), (s, 0.5)]:
                    sizes = scale / np.sqrt(ratio), scale * np.sqrt(ratio)
                    found.append(((y + 0.5) / side, (x + 0.5) / side, *sizes))
    return np.array(found)


def decoded(codes, boxes):
    """Boxes [A, 4], x1 y1 x2 y2, clipped to the picture of 300 pixels."""
    y, x = (codes[:, i] / 10 * boxes[:, 2 + i] + boxes[:, i] for i in range(2))
    h, w = (np.exp(codes[:, 2 + i] / 5) * boxes[:, 2 + i] for i in range(2))
    return 300 * np.clip(np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1), 0, 1)


def suppressed(boxes, scores):
    """The hundred best of all classes, each suppressed by itself: rows of class, score and box."""
    rows = []
    for i in range(scores.shape[1]):
        for k in tf.image.non_max_suppression(boxes, scores[:, i], 100, 0.6, 0.01).numpy():
            rows.append([i, scores[k, i], *boxes[k]])
    return np.array(sorted(rows, key=lambda row: -row[1])[:100])


def graph(tensors):
    """A frozen graph's bytes; beside the weights it has other constants and operations, as the release's have."""
    made = tf.Graph()
    with made.as_default():
        tf.constant([300, 300], name="Preprocessor/stack")
        for name, value in tensors.items():
            tf.identity(tf.constant(value, name=name), name=f"{name}/read")
            if name.endswith("/BatchNorm/gamma"):
                tf.constant(0.001, name=name.replace("gamma", "batchnorm/add/y"))
    return made.as_graph_def().SerializeToString()


def archive(path, content, name="ssd_2018/frozen_inference_graph.pb"):
    with tarfile.open(path, "w:gz") as file:
        for entry, data in (("ssd_2018/pipeline.config", b"model {"), (name, content)):
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


PICTURE = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)


@pytest.fixture(scope="module")
def first():
    """SSD on MobileNetV1, a quarter as wide, and what it gives for the picture."""
    release = Release(1, alpha=0.25)
    return release, release(PICTURE)


def check(model, release, expected):
    """Compares outputs and boxes with the release's, which are returned."""
    logits, codes, sides = expected
    assert sides == [19, 10, 5, 3, 2, 1]
    batch = {key: value[None] for key, value in model.preprocess(PICTURE).items()}
    outputs = model.network({**batch, "ids": np.zeros(1, np.int64)})
    np.testing.assert_allclose(outputs["logits"][0], logits, atol=1e-4)
    np.testing.assert_allclose(outputs["deltas"][0], codes[:, [1, 0, 3, 2]], atol=1e-4)
    boxes = decoded(codes, anchors(sides, 1 / 3))
    ours = coders.decode(model.anchors((300, 300)), outputs["deltas"][0], coders.WEIGHTS)
    np.testing.assert_allclose(np.clip(ours, 0, 300), boxes, atol=1e-3)
    # The release writes a third as 0.3333.
    np.testing.assert_allclose(decoded(codes, anchors(sides, 0.3333)), boxes, atol=0.03)
    return boxes


def test_mobilenet_v1_of_a_frozen_graph(first, tmp_path):
    release, expected = first
    (tmp_path / "ssd.pb").write_bytes(graph(release.tensors))
    assert presets.is_preset(tmp_path / "ssd.pb")
    model = Detector.from_preset(tmp_path / "ssd.pb", names=["egg", "crack"])
    boxes = check(model, release, expected)
    wanted = suppressed(boxes, 1 / (1 + np.exp(-expected[0][:, 1:])))
    found = model.detect(PICTURE, above=0.01)
    assert len(found["scores"]) == 100 and wanted[:, 1].std() > 0.005
    np.testing.assert_allclose(found["scores"], wanted[:, 1], atol=1e-4)
    np.testing.assert_allclose(found["boxes"], wanted[:, 2:], atol=1e-3)
    assert [model.classes.index(name) for name in found["names"]] == wanted[:, 0].astype(int).tolist()


def test_mobilenet_v2_of_the_zoo_s_archive(tmp_path):
    """Its extra layers are separable, its heads are not."""
    release = Release(2, extras=True, size=3)
    expected = release(PICTURE)
    plain = presets.load(archive(tmp_path / "ssd.tar.gz", graph(release.tensors)))
    assert (plain.arguments["separable"], plain.arguments["head_size"]) == ("extras", 3)
    check(Detector.from_preset(plain), release, expected)


def test_ssdlite_of_a_checkpoint(tmp_path):
    """Averages first; statistics of norms have none."""
    release = Release(2, extras=True, heads=True)
    expected, tensors = release(PICTURE), {"global_step": np.int64(7)}
    for name, value in release.tensors.items():
        if "/moving_" in name:
            tensors[name] = value
        else:
            tensors |= {name: value / 2, name + AVERAGE: value, f"{name}/RMSProp_1": np.zeros(3, np.float32)}
    folder = write(tmp_path / "ssdlite", tensors)
    plain = recognize.load_checkpoint(folder, ["egg", "crack"])
    form = {**ssd.SSDLITE_V2, "backbone": {"name": "mobilenet_v2", "alpha": 1.0}, "head_size": 1}
    assert {**plain.arguments, "head_size": 1} == {**form, "resize": ("squeeze", 300, 300)}
    model = Detector.from_preset(plain)
    check(model, release, expected)
    recognize.load_checkpoint(folder / "model", averages=False).tensors(model)
    name = "FeatureExtractor/MobilenetV2/Conv/weights"
    np.testing.assert_array_equal(model.backbone.network.get_layer("Conv1").kernel, release.tensors[name] / 2)


def test_files_of_all_kinds_hold_the_same(first, tmp_path):
    tensors = first[0].tensors
    (tmp_path / "ssd.pb").write_bytes(graph(tensors))
    for found in (
        files.read(tmp_path / "ssd.pb"),
        files.read(archive(tmp_path / "ssd.tar.gz", graph(tensors))),
        checkpoints.read(write(tmp_path / "ssd", tensors), every=False),
    ):
        assert {name for name in found if not name.endswith("/add/y")} == tensors.keys()
        for name, value in tensors.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_classes_are_coco_s(tmp_path):
    """A file keeps all ids; under the release's name those without objects are left out."""
    release = Release(1, alpha=0.25, classes=90)
    release(PICTURE)
    (tmp_path / "ssd.pb").write_bytes(graph(release.tensors))
    plain = presets.load(tmp_path / "ssd.pb")
    assert len(plain.classes) == 90 and plain.classes[10:13] == ["fire hydrant", "unused 12", "stop sign"]
    assert plain.arguments["backbone"] == {"name": "mobilenet_v1", "alpha": 0.25}
    assert plain.arguments["extras"][0] == (128, 3, 2, "same") and plain.arguments["separable"] is False
    used = released.load("ssd_mobilenet_v1_1.0_coco", tmp_path / "ssd.pb").used
    assert len(used) == 80 and used[11] == "stop sign"


def test_the_command_writes_a_preset(first, tmp_path):
    release, _ = first
    (tmp_path / "names.txt").write_text("egg\ncrack\n")
    folder = write(tmp_path / "ssd", release.tensors)
    done = companion.command(
        "import_weights", f"--checkpoint={folder}", f"--names={tmp_path / 'names.txt'}", f"--out={tmp_path / 'ours'}",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("SSD, 2 classes, ")
    found = presets.load(tmp_path / "ours").tensors["box_head/predictors/5/bias"]
    codes = release.tensors["BoxPredictor_5/BoxEncodingPredictor/biases"].reshape(6, 4)
    np.testing.assert_array_equal(found, codes[:, [1, 0, 3, 2]].ravel())


def test_tensors_that_do_not_fit(first, tmp_path):
    tensors, model = first[0].tensors, None
    norm = "FeatureExtractor/MobilenetV1/Conv2d_7_depthwise/BatchNorm/gamma"
    codes = "BoxPredictor_1/BoxEncodingPredictor/biases"
    for changed, words in (
        ({name: value for name, value in tensors.items() if name != norm}, f"no tensor '{norm}', which the model"),
        ({**tensors, "BoxPredictor_6/ClassPredictor/biases": np.zeros(3)}, "no place for the tensor 'BoxPredictor_6/C"),
        ({**tensors, codes: np.zeros(13)}, rf"tensor '{codes}' has shape \(13,\), the model's is \(24,\)"),
        ({**tensors, norm: np.full(128, np.inf)}, f"tensor '{norm}' has numbers that are not finite"),
    ):
        (tmp_path / "ssd.pb").write_bytes(graph({name: np.float32(value) for name, value in changed.items()}))
        plain = presets.load(tmp_path / "ssd.pb")
        model = model or SSD(2, **plain.arguments)
        with pytest.raises(ValueError, match=f"ssd.pb: .*{words}") as error:
            plain.tensors(model)
        assert "\n" not in str(error.value)


def one(name, shape=(1,), **values):
    """A graph of one constant."""
    made = graph_pb2.GraphDef()
    tensor = made.node.add(name=name, op="Const").attr["value"].tensor
    tensor.dtype = types_pb2.DT_FLOAT
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)
    for key, value in values.items():
        tensor.tensor_content = value if key == "plain" else b""
        tensor.float_val.extend(value if key == "listed" else [])
    return made.SerializeToString()


FAULTS = {
    "a web page": (b"\n<html>Sign in</html>", "a web page and no weights"),
    "text": (b"\nnode {", "no graph of TensorFlow, or a damaged one, or one that was cut off"),
    "a SavedModel": (b"\x08\x01\x12\x05hello", "a SavedModel of TensorFlow: take the frozen graph"),
    "no weights": (graph({}), "a graph of TensorFlow without weights: take the frozen one"),
    "another": (one("logits", listed=[1.0]), "of no detector that is known here; its first tensor is 'logits'"),
    "a bomb": (one("a", (2**20, 2**20), listed=[0.0]), "its tensors have .* bytes, but the graph only"),
    "negative": (one("a", (-1,), listed=[0.0]), r"tensor 'a' has shape \(-1,\), which its numbers do not fill"),
    "too few": (one("a", (3,), plain=bytes(8)), r"tensor 'a' has shape \(3,\), which its numbers do not fill"),
    "too many": (one("a", (1,), listed=[1.0, 2.0]), "which its numbers do not fill"),
    "an odd byte": (one("a", (1,), plain=bytes(5)), "which its numbers do not fill"),
    "Faster R-CNN": (one("FirstStageFeatureExtractor/x", listed=[1.0]), "Faster R-CNN or one of its heirs"),
    "FPN": (one("WeightSharedConvolutionalBoxPredictor/biases", listed=[1.0]), "SSD whose maps share a head"),
    "Inception": (one("FeatureExtractor/InceptionV2/weights", listed=[1.0]), "SSD on another network of TensorFlow's"),
    "half": (one("FeatureExtractor/MobilenetV1/x", listed=[1.0]), "no tensor 'FeatureExtractor/MobilenetV1/Conv"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_are_no_such_detector(name, tmp_path):
    content, words = FAULTS[name]
    (tmp_path / "x.pb").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.pb: .*{words}") as error:
        Detector.from_preset(tmp_path / "x.pb")
    assert "\n" not in str(error.value)


def test_files_that_were_cut_off(first, tmp_path):
    content = graph(first[0].tensors)
    (tmp_path / "cut.pb").write_bytes(content[: len(content) // 2])
    fewer = {name: value for name, value in first[0].tensors.items() if "Conv2d_5_3x3" not in name}
    (tmp_path / "fewer.pb").write_bytes(graph(fewer))
    whole = archive(tmp_path / "whole.tar.gz", content).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    archive(tmp_path / "other.tar.gz", content, "ssd_2018/model.tflite")
    for file, words in (
        ("cut.pb", "one that was cut off"),
        ("fewer.pb", "3 extra layers instead of 4, by which its detector would be known"),
        ("cut.tar.gz", "a damaged archive, or one that was cut off"),
        ("other.tar.gz", "a tar archive without frozen_inference_graph.pb"),
    ):
        with pytest.raises(ValueError, match=f"{file}: .*{words}") as error:
            presets.load(tmp_path / file)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere.pb: no such weights file"):
        presets.load(tmp_path / "nowhere.pb")
    with pytest.raises(ValueError, match="Faster R-CNN or one of its heirs of TensorFlow's Object Detection API"):
        recognize.load_checkpoint(write(tmp_path / "faster", {"FirstStageFeatureExtractor/x": np.zeros(1, np.float32)}))


def test_what_is_separable():
    with pytest.raises(ValueError, match="separable must be False, True or 'extras', got 'heads'"):
        SSD(2, separable="heads")
