"""Namespaces, as the tests below netns/ have them, and every backend that there is."""

from __future__ import annotations

import pytest

from tests.netns.conftest import every_errno_is_filed, netns
from tortie.dataplane import contract

__all__ = ["every_errno_is_filed", "netns"]


@pytest.fixture(params=contract.names())
def backend_name(request: pytest.FixtureRequest) -> str:
    """A test of what not every backend does takes its place by naming those that do."""
    return str(request.param)
