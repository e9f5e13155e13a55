"""A namespace with a table, and one socket that stays open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.conftest import Namespace, NetnsFactory
from tests.netns.kernel.netfilter import path as paths
from tests.netns.kernel.netfilter.nft import connected
from tests.netns.kernel.netfilter.path import Path
from tortie.kernel.netfilter.socket import NetfilterSocket


@pytest.fixture
def host(netns: NetnsFactory) -> Namespace:
    return netns("host")


@pytest.fixture
def sock(host: Namespace) -> Iterator[NetfilterSocket]:
    with connected(host) as sock:
        yield sock


@pytest.fixture
def path(netns: NetnsFactory) -> Iterator[Path]:
    yield from paths.make(netns)
