"""Tests that start clusters rely on sharing one worker; a test runner that ignores groups does so without a word."""

import os

import pytest


@pytest.mark.xdist_group("distribution")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="needs the workers of `make test`")
def test_the_test_runner_honours_groups(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@distribution")
