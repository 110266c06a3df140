"""Darknet's cfgs: counts of the published networks, what is read, and what is refused in one line."""

import math

import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.backbones import cfg, cfg_layers
from kerasdet.detectors import yolov1, yolov2, yolov3

SPP = {"spp": (5, 9, 13)}
RELEASE = {"hidden": ("local", 256), "boxes": 3}
PAPER = {"norm": None}


def network(paper, classes, side, norm="batch", **options):
    if paper is yolov1:
        sections, _ = paper.sections(classes, **options)
    else:
        sections = paper.sections(classes, **options)
    if norm is None:
        sections = [
            one._replace(values={**one.values, "batch_normalize": 0}) if "batch_normalize" in one.values else one
            for one in sections
        ]
    return [cfg.section("net", height=side, width=side), *sections]


def all_and_trainable(placed):
    shapes = [item for layer in placed for item in cfg_layers.weight_shapes(layer).items()]
    total = sum(math.prod(shape) for _, shape in shapes)
    return total, total - sum(math.prod(shape) for name, shape in shapes if name.startswith("moving"))


# Parameters and trainable ones, predictions of a picture, and 10^9 operations as darknet prints them.
PUBLISHED = {
    "YOLOv1, the paper's": (yolov1, 20, 448, PAPER, 271_703_550, 271_703_550, 98, None),
    "YOLOv1, the release's": (yolov1, 20, 448, RELEASE, 197_328_243, 197_301_875, 147, 40.42),
    "YOLOv1, COCO": (yolov1, 80, 448, RELEASE, 234_210_543, 234_184_175, 147, None),
    "YOLOv1, fast": (yolov1, 20, 448, {"network": "fast", "hidden": None}, 27_099_950, 27_095_374, 98, None),
    "YOLOv2, VOC": (yolov2, 20, 416, {}, 50_676_061, 50_655_389, 845, 29.36),
    "YOLOv2, COCO": (yolov2, 80, 416, {}, 50_983_561, 50_962_889, 845, 29.46),
    "YOLOv2 at 608": (yolov2, 80, 608, {}, 50_983_561, 50_962_889, 1805, 62.94),
    "YOLOv2-tiny, COCO": (yolov2, 80, 416, yolov2.TINY_COCO, 11_237_145, 11_232_057, 845, 5.41),
    "YOLOv2-tiny, VOC": (yolov2, 20, 416, yolov2.TINY_VOC, 15_867_885, 15_861_773, 845, 6.97),
    "YOLOv3, VOC": (yolov3, 20, 416, {}, 61_678_657, 61_626_049, 10_647, 65.43),
    "YOLOv3 at 320": (yolov3, 80, 320, {}, 62_001_757, 61_949_149, 6300, 38.97),
    "YOLOv3 at 416": (yolov3, 80, 416, {}, 62_001_757, 61_949_149, 10_647, 65.86),
    "YOLOv3 at 608": (yolov3, 80, 608, {}, 62_001_757, 61_949_149, 22_743, 140.69),
    "YOLOv3-SPP": (yolov3, 80, 608, SPP, 63_052_381, 62_998_749, 22_743, 141.45),
    "YOLOv3-tiny": (yolov3, 80, 416, yolov3.TINY, 8_858_734, 8_852_366, 2535, 5.565),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_of_the_published_networks(name):
    paper, classes, side, options, total, trainable, predictions, billions = PUBLISHED[name]
    placed = cfg_layers.layers(network(paper, classes, side, **options))
    assert all_and_trainable(placed) == (total, trainable)
    found = 0
    for layer in placed:
        values, (height, width, _) = layer.values, layer.before
        if layer.kind == "detection":
            found += values["side"] ** 2 * values["num"]
        elif layer.kind in cfg.HEADS:
            found += height * width * len(values.get("mask") or range(values["num"]))
    assert found == predictions
    if billions is not None:
        assert cfg_layers.operations(placed) / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_cfg_that_is_written_is_read_as_the_same(name):
    paper, classes, side, options, *_ = PUBLISHED[name]
    sections = network(paper, classes, side, **options)
    again = cfg.parse(cfg.text(sections))
    assert [one[:2] for one in cfg_layers.layers(again)] == [one[:2] for one in cfg_layers.layers(sections)]
    assert [one[3:] for one in cfg_layers.layers(again)] == [one[3:] for one in cfg_layers.layers(sections)]


@pytest.mark.parametrize("name", ["darknet19", "darknet53", "darknet_tiny"])
def test_maps_of_the_backbones(name):
    backbone = backbones.build({"name": name, "width": 1 / 16}, levels=(3, 5))
    maps = backbone(tf.zeros([1, 96, 64, 3]))
    assert [tuple(one.shape[1:]) for one in maps] == [
        (96 // stride, 64 // stride, channels)
        for stride, channels in zip(backbone.strides, backbone.channels, strict=True)
    ]


NET = "[net]\nheight=64\nwidth=64\n"
CONV = "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"


def test_real_files_are_read():
    """Blanks, comments, carriage returns, the first of two equal keys, layers in any order."""
    text = "# a comment\r\n[net]\r\n; another\r\nheight = 64 # a third\r\nwidth=6 4\r\nlearning_rate=.1\r\n\r\n"
    text += "[conv]\r\nfilters=3 ; x\r\nfilters=9\r\nactivation=mish\r\n[max]\r\n[route]\r\nlayers = -1, 0\r\n"
    net, conv, pool, route = cfg.parse(text)
    assert (net.values["height"], net.values["width"]) == (64, 64)
    assert (conv.kind, conv.values["filters"], conv.values["activation"], conv.line) == ("convolutional", 3, "mish", 8)
    assert (pool.kind, route.values["layers"]) == ("maxpool", (-1, 0))
    assert [one.shape for one in cfg_layers.layers([net, conv, pool, route])] == [(64, 64, 3), (64, 64, 3), (64, 64, 6)]


YOLO_END = "[yolo]\nclasses=2\nnum=1\nanchors=8,8\n"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no cfg of darknet"),
        ("no cfg at all", "line 1: neither a .section. nor key=value"),
        (NET + "[lstm]\nbatch=1\n", r"line 4: \[lstm\] is no layer that is known here"),
        (CONV, r"line 1: a cfg begins with one \[net\]"),
        (NET + CONV + NET, r"line 9: a cfg begins with one \[net\]"),
        (NET + CONV + "fliters=3\n", r"line 9: \[convolutional\] has no key 'fliters' that is known here"),
        (NET + CONV.replace("8", "eight"), "line 5: filters must be a whole number, got 'eight'"),
        (NET + CONV.replace("8", "1e400"), "line 5: filters must be a whole number"),
        (NET + CONV.replace("8", "0"), r"line 4: layer 0, \[convolutional\]: filters must be 1 to"),
        (NET + CONV.replace("8", "1000000000"), r"line 4: layer 0, \[convolutional\]: filters must be 1 to"),
        (NET + CONV.replace("leaky", "softplus"), "line 8: activation must be one of"),
        (NET + CONV + "dilation=2\n", r"line 9: dilation=2 of \[convolutional\] is not known here"),
        (NET + CONV * 100_000, "more than 1000 layers"),
        (NET.replace("64", "0") + CONV, r"line 1: \[net\] needs a height and a width above 0"),
        (NET.replace("64", "60000") + CONV, r"line 4: layer 0, \[convolutional\]: a map of .* is beyond all bounds"),
        (NET + CONV.replace("8", "60000") * 3, r"line 9: layer 1, \[convolutional\]: over 1073741824 weights"),
        (NET + CONV.replace("3", "99").replace("pad=1", "pad=0"), "leaves nothing"),
        (NET + CONV + "[route]\nlayers=-2\n", r"line 9: layer 1, \[route\]: layers must name layers before it"),
        (NET + CONV + "[route]\nlayers=1\n", "layers must name layers before it"),
        (NET + CONV + "[maxpool]\nstride=2\nsize=2\n[route]\nlayers=-1,0\n", "it joins maps of different sizes"),
        (NET + CONV + "[shortcut]\nfrom=-7\n", "from must name layers before it"),
        (NET + CONV + YOLO_END, r"1 anchors and 2 classes need 7 filters before it, got 8"),
        (NET + CONV.replace("8", "7") + YOLO_END + "mask=1\n", "mask names anchors that there are not"),
        (NET + CONV.replace("8", "7") + YOLO_END.replace("8,8", "8"), "num=1 needs 2 anchors' sides above 0, got 1"),
        (NET + CONV.replace("8", "7") + YOLO_END + "new_coords=1\n", r"new_coords=1 of \[yolo\] is not known here"),
        (NET + CONV + "[reorg]\nstride=3\n", "stride 3 does not divide a map of"),
        (NET + CONV.replace("leaky", "leaky\ngroups=3"), "groups=3 do not divide 3 and 8 channels"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(ValueError, match=words) as error:
        cfg_layers.layers(cfg.parse(text, "bad.cfg"), "bad.cfg")
    assert "bad.cfg" in str(error.value) and "\n" not in str(error.value)


def test_other_classes():
    """Heads and the filters before them; the rest stays."""
    sections = network(yolov3, 80, 416, **yolov3.TINY)
    changed = cfg.with_classes(sections, 3)
    placed = cfg_layers.layers(changed)
    assert [layer.values["classes"] for layer in placed if layer.kind == "yolo"] == [3, 3]
    assert [layer.before[2] for layer in placed if layer.kind == "yolo"] == [24, 24]
    assert cfg.with_classes(changed, 80) == sections
