"""Fixtures of all tests, and how they are dealt to workers."""

import gc

import pytest

from kerasdet.ops import library
from tests.companion import Companion
from tests.ops.ways import WAYS

# Graphs that stay alive are millions of objects, which the collector would visit again and again.
gc.set_threshold(100_000, 50, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Under `--dist=loadgroup` tests of a file stay together, as they share fixtures; the contract suite has groups."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))


@pytest.fixture(params=WAYS)
def way(request):
    """Runs a test of operators natively and by their twins; where the library is not built, its half is skipped."""
    if request.param == "native" and library.load() is None:
        pytest.skip("the native operators are not built: python -m custom_ops.build")
    with WAYS[request.param]():
        yield request.param


@pytest.fixture(scope="session")
def stranger():
    """A process that has TensorFlow alone and runs SavedModels, see `tests.export.stranger`."""
    companion = Companion("tests.export.stranger")
    yield companion
    companion.close()
