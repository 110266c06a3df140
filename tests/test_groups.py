"""Tests of a file share their fixtures, so `make test` runs them on one worker."""

import pytest


def test_a_file_stays_on_one_worker(request):
    """pytest-xdist tells the group by the end of a test's name; under pytest 9.2 it cannot."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("runs in one process")
    assert request.node.nodeid.endswith("@tests/test_groups.py")
