"""Fixtures of all tests."""

import pytest

from kerasdet.ops import library
from tests.ops.ways import WAYS


@pytest.fixture(params=WAYS)
def way(request):
    """Runs a test of operators natively and by their twins; where the library is not built, its half is skipped."""
    if request.param == "native" and library.load() is None:
        pytest.skip("the native operators are not built: python -m custom_ops.build")
    with WAYS[request.param]():
        yield request.param
