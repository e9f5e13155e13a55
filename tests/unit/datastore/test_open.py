"""URLs of datastores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.datastore import open_datastore
from tortie.datastore.api import Put
from tortie.errors import Unavailable, UsageError


async def test_sqlite_path(tmp_path: Path) -> None:
    store = open_datastore(f"sqlite://{tmp_path}/new/my%20store.db", create=True)
    await store.txn([], [Put("/a", b"")])
    await store.close()
    path = tmp_path / "new" / "my store.db"
    assert path.exists()
    assert store.url == f"sqlite://{tmp_path}/new/my%20store.db"


async def test_more_slashes_than_three_are_one_path(tmp_path: Path) -> None:
    store = open_datastore(f"sqlite:///{tmp_path}/tortie.db", create=True)
    await store.txn([], [Put("/a", b"")])
    await store.close()
    assert (tmp_path / "tortie.db").exists()


async def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    store = open_datastore(f"sqlite://{tmp_path}/tortie.db")
    with pytest.raises(Unavailable, match="does not exist"):
        await store.txn([], [Put("/a", b"")])
    await store.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://root:secret@db/tortie", "datastore 'mysql' is not supported: write sqlite:///PATH/TO/FILE"),
        ("/var/lib/tortie/tortie.db", "'/var/lib/tortie/tortie.db' is not supported: write sqlite:///PATH"),
        ("", "'' is not supported"),
        ("sqlite://", "takes an absolute path"),
        ("sqlite:///", "takes an absolute path"),
        ("sqlite://tortie.db", "takes an absolute path"),
        ("sqlite:///a?mode=ro", "takes an absolute path"),
    ],
)
def test_urls_that_make_no_sense(url: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_datastore(url)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
