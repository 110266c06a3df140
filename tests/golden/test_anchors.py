"""Anchors against the reference values.

These cases of the file await their detector: fcos_points*, yolov2_*, yolov3, yolov3_tiny, yolov4, and the
+1 convention of old weights: classic_table, classic_plus1.
"""

import inspect

import numpy as np
import pytest

from kerasdet import anchors
from kerasdet.detectors.ssd import SSD, SSD512, SSDLITE_V3
from tests.golden import goldens

ANCHORS = goldens.load("anchors")
RATIOS = (0.5, 1.0, 2.0)
TORCHVISION = {"offset": 0.0, "rounded": True}


def retinanet(golden, **options):
    """torchvision's RetinaNet: three sizes an octave, cut to whole pixels."""
    strides = (8, 16, 32, 64, 128)
    sizes = [[int(size + 1e-6) for size in level] for level in anchors.octaves(strides)]
    return anchors.Anchors(anchors.shapes(sizes, RATIOS), strides, **TORCHVISION, **options)


def frcnn_fpn(golden, **options):
    """torchvision's Faster R-CNN: one size a level."""
    shapes = anchors.shapes([(32,), (64,), (128,), (256,), (512,)], RATIOS)
    return anchors.Anchors(shapes, (4, 8, 16, 32, 64), **TORCHVISION, **options)


def classic(golden, **options):
    """Faster R-CNN on one map of stride 16; the scales are those of the stored first cell."""
    x1, y1, x2, y2 = golden["cell"][: len(golden["cell"]) // len(RATIOS)].T
    return anchors.Anchors(anchors.shapes([np.sqrt((x2 - x1) * (y2 - y1))], RATIOS), (16,), **options)


def ssd(golden, ratios, clip=False):
    """SSD's default boxes on the stored grids."""
    rows = {int(side): [int(n) for n in golden["grids"][:, axis]] for axis, side in enumerate(golden["image_size"])}
    shapes = anchors.default_shapes(golden["scales"].tolist(), ratios, clip)
    return anchors.DefaultBoxes(lambda side: rows[side], shapes, golden["strides"][:, 0].tolist())


def ssd300(golden, **options):
    return ssd(golden, SSD300_RATIOS, clip="boxes" in golden)  # whole cases are torchvision's, which clips


def ssd512(golden, **options):
    return ssd(golden, SSD512["ratios"])


def ssdlite(golden, **options):
    return ssd(golden, SSDLITE_V3["ratios"], clip=True)


def efficientdet(golden, **options):
    """Size by size, and ratio by ratio in each."""
    strides, ratios = (8, 16, 32, 64, 128), (1.0, 0.5, 2.0)
    shapes = [np.concatenate(anchors.shapes([[size] for size in own], ratios)) for own in anchors.octaves(strides)]
    return anchors.Anchors(shapes, strides, fitted="exact")


MAKERS = {
    "efficientdet": efficientdet,
    "retinanet_": retinanet,
    "frcnn_fpn_": frcnn_fpn,
    "classic_exact": classic,
    "ssd300": ssd300,
    "ssd512": ssd512,
    "ssdlite": ssdlite,
}
SSD300_RATIOS = inspect.signature(SSD.__init__).parameters["ratios"].default


def build(case):
    """The anchors of a case: strides 2**level in those called nominal, else fitted to the grid."""
    maker = next(maker for prefix, maker in MAKERS.items() if case.startswith(prefix))
    fitted = "floor" if maker in (retinanet, frcnn_fpn) and not case.endswith("_nominal") else None
    return maker(ANCHORS[case], fitted=fitted)


def expected(golden):
    """Rows and boxes that the case holds: all of them, or the first, the last and some between."""
    if "boxes" in golden:
        yield slice(None), golden["boxes"]
        return
    yield slice(len(golden["first"])), golden["first"]
    yield slice(-len(golden["last"]), None), golden["last"]
    yield golden["probe_index"], golden["probe"]


CASES = [case for prefix in MAKERS for case in goldens.cases("anchors", prefix)]


@pytest.mark.parametrize("case", CASES)
def test_grids_and_counts(case):
    golden, pyramid = ANCHORS[case], build(case)
    size = golden["image_size"].tolist()
    np.testing.assert_array_equal(pyramid.grids(size), golden["grids"])
    np.testing.assert_array_equal(pyramid.counts(size), golden["level_count"])
    assert len(pyramid(size)) == golden["count"].item()


@pytest.mark.parametrize("case", CASES)
def test_boxes(case):
    golden = ANCHORS[case]
    boxes = build(case)(golden["image_size"].tolist()).numpy()
    for rows, values in expected(golden):
        np.testing.assert_allclose(boxes[rows], values, rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", [case for case in CASES if "sum64" in ANCHORS[case]])
def test_sums(case):
    golden = ANCHORS[case]
    boxes = build(case)(golden["image_size"].tolist()).numpy().astype(np.float64)
    np.testing.assert_allclose(boxes.sum(axis=0), golden["sum64"], rtol=1e-5)
    np.testing.assert_allclose(np.square(boxes).sum(axis=0), golden["sumsq64"], rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if "cell" in ANCHORS[case]])
def test_first_cells(case):
    golden, pyramid = ANCHORS[case], build(case)
    assert [len(cell) for cell in pyramid.cells] == golden["cell_count"].tolist()
    cells = np.concatenate(pyramid.cells)
    if case.startswith("classic"):
        cells = cells + golden["strides"].mean() / 2
    np.testing.assert_allclose(cells, golden["cell"], rtol=0, atol=1e-3)
