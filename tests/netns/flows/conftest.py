"""The scene of every test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.flows import scene as scenes
from tests.netns.flows.scene import Scene


@pytest.fixture
def scene(netns: NetnsFactory) -> Iterator[Scene]:
    yield from scenes.make(netns)
