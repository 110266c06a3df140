"""Darknet's files: in and out byte for byte, first layers alone, and what does not fit, in one line.

KERASDET_WEIGHTS names a folder with `darknet/*.weights` and the json of their layers, KERASDET_DATA one with `photos`.
"""

import hashlib
import json
import os
import pathlib
import struct

import numpy as np
import pytest

from kerasdet.backbones import cfg_layers, darknet_file
from kerasdet.detectors import Darknet, RetinaNet, YOLOv1, YOLOv2, YOLOv3
from kerasdet.detectors.detector import Detector
from kerasdet.load import load
from kerasdet.weights import darknet, names, released
from tests.golden.darknet_weights import cfg_of

WEIGHTS = pathlib.Path(os.environ.get("KERASDET_WEIGHTS", "/nowhere")) / "darknet"
DATA = pathlib.Path(os.environ.get("KERASDET_DATA", "/nowhere"))

CFG = """
[net]
height=64
width=96
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=4
size=3
groups=4
pad=1
activation=relu6
[convolutional]
filters=6
activation=linear
[yolo]
classes=1
num=1
anchors=20,30
"""
NUMBERS = 4 * 4 + 4 * 27 + 4 + 4 * 9 + 6 + 6 * 4


def file_of(folder, count=NUMBERS, version=(0, 2, 0), seen=7, change=None):
    """A file of random numbers, and the cfg beside it."""
    (folder / "net.cfg").write_text(CFG)
    numbers = np.random.default_rng(0).uniform(0.1, 1, count).astype("<f4")
    if change is not None:
        numbers[change[0]] = change[1]
    header = darknet_file.Header(version, seen)
    (folder / "net.weights").write_bytes(header.to_bytes() + numbers.tobytes())
    return folder / "net.cfg", folder / "net.weights"


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 5), (1, 0, 0), (0, 2000, 0)])
def test_bytes_come_back(version, tmp_path):
    """Headers of 16 and 20 bytes; through a preset too."""
    cfg, weights = file_of(tmp_path, version=version, seen=3)
    model = Detector.from_preset(darknet.load(cfg, weights))
    assert isinstance(model, Darknet) and model.classes == ("class 0",)
    model.save_preset(tmp_path / "preset")
    for one in (model, load(tmp_path / "preset")):
        for written, source in zip(darknet.write(one, tmp_path / "again"), (cfg, weights), strict=True):
            assert pathlib.Path(written).read_bytes() == source.read_bytes()


def test_kernels_lie_where_darknet_reads_them(tmp_path):
    """(out, in, height, width) after beta, gamma, mean and variance."""
    model = Detector.from_preset(darknet.load(*file_of(tmp_path)))
    numbers = darknet_file.read(tmp_path / "net.weights")[1]
    first = names.weights(model)["backbone/blocks/0/kernel"].numpy()
    np.testing.assert_array_equal(first[1, 2, 0, 3], numbers[16 + 27 * 3 + 3 * 1 + 2])
    np.testing.assert_array_equal(names.weights(model)["backbone/blocks/0/norm/gamma"], numbers[4:8])
    np.testing.assert_array_equal(names.weights(model)["head/blocks/0/bias"], numbers[-30:-24])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"count": NUMBERS - 1}, f"the file ends early: {NUMBERS - 1} numbers of the {NUMBERS} that the layers need"),
        ({"count": NUMBERS + 3}, f"3 numbers are left over of {NUMBERS + 3}"),
        ({"change": (13, -1.0)}, "backbone/blocks/0/norm/moving_variance holds negative variances"),
        ({"change": (40, np.nan)}, "backbone/blocks/0/kernel holds numbers that are not finite"),
        ({"version": (-1, 2, 0)}, "no weights of darknet: version"),
        ({"seen": -4}, "no weights of darknet: version"),
    ],
    ids=str,
)
def test_files_that_do_not_fit(change, words, tmp_path):
    with pytest.raises(ValueError, match=words) as error:
        Detector.from_preset(darknet.load(*file_of(tmp_path, **change)))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_file_of_weights(tmp_path):
    cfg, weights = file_of(tmp_path)
    for content, words in (
        (b"", "0 bytes are no weights"),
        (b"abc", "3 bytes are no weights"),
        (struct.pack("<iiii", 0, 2, 0, 1), "ends in its header"),
        (weights.read_bytes() + b"x", "no weights of darknet"),
        (b"PK\x03\x04" * 100, "no weights of darknet|the file ends early|left over"),
    ):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            darknet.load(cfg, weights)
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        darknet.load(cfg, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no such cfg"):
        darknet.load(tmp_path / "none", weights)
    cfg.write_bytes(b"\xff\xfe\x00[net]")
    with pytest.raises(ValueError, match="which is text"):
        darknet.load(cfg, weights)
    cfg.write_bytes(b"[net]\n" * 2**18)
    with pytest.raises(ValueError, match="bytes are no cfg of darknet"):
        darknet.load(cfg, weights)


def test_a_cfg_beyond_all_bounds_allocates_nothing(tmp_path):
    cfg, weights = file_of(tmp_path)
    for change, words in (("filters=1000000000", "filters must be 1 to"), ("filters=60000", "over|needs|filters")):
        cfg.write_text(CFG.replace("filters=4", change))
        with pytest.raises(ValueError, match=words):
            darknet.load(cfg, weights)


def test_names_of_classes(tmp_path):
    cfg, weights = file_of(tmp_path)
    listed = tmp_path / "my.names"
    listed.write_text("egg\n")
    assert darknet.load(cfg, weights, listed).classes == ["egg"]
    listed.write_text("egg\nham\n")
    with pytest.raises(ValueError, match="2 names, but the cfg has 1 classes"):
        darknet.load(cfg, weights, listed)


def test_how_pictures_get_their_size(tmp_path):
    """As the program that wrote the file does it, or as is said."""
    for version, rule in (((0, 2, 0), "darknet_letterbox"), ((0, 2, 5), "darknet_stretch")):
        plain = darknet.load(*file_of(tmp_path, version=version))
        assert plain.arguments["resize"] == (rule, 64, 96)
    assert darknet.load(*file_of(tmp_path), resize="stretch").arguments["resize"] == ("darknet_stretch", 64, 96)


@pytest.mark.parametrize("kind", [YOLOv1, YOLOv2, YOLOv3], ids=lambda kind: kind.__name__)
def test_a_papers_network_is_darknets(kind, tmp_path):
    """Written and imported by its cfg, it says the same; its file has the size of the counts."""
    model = kind(**kind.tiny())
    cfg, weights = darknet.write(model, tmp_path / "net")
    size = 4 * model.count_params() + darknet_file.Header(tuple(model.version)).size
    assert os.path.getsize(weights) == size
    twin = Detector.from_preset(darknet.load(cfg, weights))
    picture = np.random.default_rng(0).integers(0, 255, [*model.sections[0].values.values()][:2] + [3])
    images = {**model.preprocess(picture[None]), "ids": np.zeros(1, np.int64)}
    for one, other in zip(model.network(images)["maps"], twin.network(images)["maps"], strict=True):
        np.testing.assert_array_equal(one, other)


def test_first_layers_alone(tmp_path):
    """As of `darknet53.conv.74`: whole layers from the start, of the backbone or some more."""
    source = YOLOv3(**YOLOv3.tiny())
    _, weights = darknet.write(source, tmp_path / "net")
    header, numbers = darknet_file.read(weights)
    counts = [cfg_layers.weight_count(layer) for layer in cfg_layers.layers(source.sections)]
    for layers in (13, 15):
        part = tmp_path / f"net.conv.{layers}"
        darknet_file.write(part, header, [numbers[: sum(counts[:layers])]])
        model = YOLOv3(**YOLOv3.tiny(), backbone_weights=str(part))
        ours, theirs = names.weights(model), names.weights(source)
        same = [name for name in ours if np.array_equal(ours[name], theirs[name]) and name.endswith("kernel")]
        assert len(same) == sum(count > 0 for count in counts[:layers])
        assert model.get_config()["backbone_weights"] is None
    darknet_file.write(part, header, [numbers[: sum(counts[:15]) - 1]])
    with pytest.raises(ValueError, match="numbers are left over"):
        YOLOv3(**YOLOv3.tiny(), backbone_weights=str(part))
    backbone = {"name": "darknet_tiny", "width": 1 / 16}
    part = tmp_path / "net.conv.13"
    tiny = {**RetinaNet.tiny(), "levels": (3, 5), "backbone": backbone, "backbone_weights": str(part)}
    found = names.weights(RetinaNet(**tiny))["backbone/body/blocks/12/kernel"]
    np.testing.assert_array_equal(found, names.weights(source)["backbone/blocks/12/kernel"])


def test_only_the_yolo_line_is_written(tmp_path):
    with pytest.raises(ValueError, match="RetinaNet is no network of darknet's"):
        darknet.write(RetinaNet(**RetinaNet.tiny()), tmp_path / "net")


REAL = sorted(WEIGHTS.glob("*.json"))


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_networks_come_and_go(path, tmp_path):
    """The three best boxes on a photo lie on real objects, and the bytes come back."""
    info = json.loads(path.read_text())
    (tmp_path / "net.cfg").write_text(cfg_of(info))
    weights = path.with_suffix(".weights")
    model = Detector.from_preset(darknet.load(tmp_path / "net.cfg", weights, resize="stretch"))
    assert model.count_params() == info["floats"]
    _, written = darknet.write(model, tmp_path / "again")
    assert pathlib.Path(written).read_bytes() == weights.read_bytes()
    if DATA.is_dir():
        found = model.detect(DATA / "photos" / "dog.jpg", above=0.0)
        assert {"dog", "car"} & set(found["names"][:3])


@pytest.mark.skipif(not REAL, reason="KERASDET_WEIGHTS names no folder with darknet's networks")
def test_the_released_tiny_network(tmp_path):
    weights = WEIGHTS / "yolov3-tiny.weights"
    entry = released.RELEASED["yolov3_tiny_coco"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == entry.sha256
    model = Detector.from_preset(released.load("yolov3_tiny_coco", weights))
    assert isinstance(model, YOLOv3) and model.count_params() == 8_858_734
    _, written = darknet.write(model, tmp_path / "again")
    assert pathlib.Path(written).read_bytes() == weights.read_bytes()
