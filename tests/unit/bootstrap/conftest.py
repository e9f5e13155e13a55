"""A machine without any configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tortie.bootstrap import calicoctl, settings

FOREIGN = ("TORTIE_", "CALICO_", "ETCD_", "K8S_", "KUBECONFIG", "DATASTORE_TYPE")


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [key for key in os.environ if key.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "etc" / "tortie.toml")
    monkeypatch.setattr(calicoctl, "DEFAULT_FILE", tmp_path / "etc" / "calicoctl.cfg")
    (tmp_path / "etc").mkdir()
