"""The stores of the datastore's own tests."""

from tests.unit.datastore.conftest import (
    backend,
    directory,
    etcd_backend,
    etcd_proxy,
    etcd_proxy_backend,
    etcd_server,
    sqlite_backend,
    store,
)

__all__ = [
    "backend",
    "directory",
    "etcd_backend",
    "etcd_proxy",
    "etcd_proxy_backend",
    "etcd_server",
    "sqlite_backend",
    "store",
]
