"""The two ways an operator runs. Tests of operators run on both: the native one is built by `make test`."""

import contextlib

import pytest

from kerasdet.ops import library

WAYS = {"native": contextlib.nullcontext, "twin": library.portable}


@pytest.fixture(params=WAYS)
def way(request):
    """Runs a test natively and with the twin; without a library the native half is skipped."""
    if request.param == "native" and library.load() is None:
        pytest.skip("the native operators are not built: python -m custom_ops.build")
    with WAYS[request.param]():
        yield request.param
