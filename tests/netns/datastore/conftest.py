"""A host and its etcd on a wire that can be cut without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import NetnsFactory
from tests.netns.datastore.distant import DistantEtcd
from tortie.lab import etcd


@pytest.fixture
def distant(netns: NetnsFactory, tmp_path: Path) -> Iterator[DistantEtcd]:
    if what := etcd.missing():
        pytest.skip(what)
    made = DistantEtcd(netns("host"), netns("store"), tmp_path)
    yield made
    made.close()
