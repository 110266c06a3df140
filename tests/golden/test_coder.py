"""The delta coder against the reference values.

These cases of the file await their detector: yolov1_decode, yolov2_decode, yolov3_decode, yolov3_encode,
yolov4_decode, yolov5_decode, yolox_decode, centernet, fcos_ltrb, linear_coder.
"""

import numpy as np
import pytest

from kerasdet import coders
from tests.golden import goldens

CODER = goldens.load("coder")


def in_pixels(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)


def decimals(setting):
    """The decimal numbers that float32 settings stand for."""
    return [float(f"{number:.7g}") for number in setting]


@pytest.mark.parametrize("case", goldens.cases("coder", "encode_"))
def test_encode(case):
    golden = CODER[case]
    deltas = coders.encode(golden["anchors"], golden["gt"], decimals(golden["weights"])).numpy()
    rows = golden["finite"]
    assert np.isfinite(deltas).all()
    for field in ("encoded", "encoded64"):
        np.testing.assert_allclose(deltas[rows], golden[field][rows], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("case", goldens.cases("coder", "decode_"))
def test_decode(case):
    golden = CODER[case]
    np.testing.assert_allclose(golden["clip"], coders.LOG_MAX, rtol=1e-6)
    deltas = golden["deltas"].reshape(golden["decoded"].shape)
    decoded = coders.decode(golden["anchors"][:, None], deltas, decimals(golden["weights"]))
    in_pixels(decoded, golden["decoded"])
    in_pixels(decoded, golden["decoded64"])


@pytest.mark.parametrize("case", goldens.cases("coder", "ssd"))
def test_ssd(case):
    golden = CODER[case]
    center, size = decimals(golden["variances"])
    weights = (1 / center, 1 / center, 1 / size, 1 / size)
    deltas = coders.encode(golden["anchors"], golden["gt"], weights)
    np.testing.assert_allclose(deltas, golden["encoded64"], rtol=1e-5, atol=1e-4)
    in_pixels(coders.decode(golden["anchors"], golden["deltas"], weights, clip=None), golden["decoded64"])
