"""The fabric of hosts that these tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.bgp.hosts import Fabric
from tests.netns.conftest import NetnsFactory


@pytest.fixture
def fabric(netns: NetnsFactory, tmp_path: Path) -> Iterator[Fabric]:
    fabric = Fabric(netns, tmp_path)
    yield fabric
    fabric.end()
