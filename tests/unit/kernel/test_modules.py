"""What this kernel has, on this machine and on trees of files that stand for others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.kernel import modules


def test_a_function_of_every_kernel_runs() -> None:
    assert modules.runs("netlink_sendmsg")
    assert not modules.runs("netlink_sendm")


def test_of_a_module_the_name_stands_behind_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = tmp_path / "kallsyms"
    symbols.write_text("0000000000000000 T nft_do_chain\t[nf_tables]\n")
    monkeypatch.setattr(modules, "_SYMBOLS", symbols)
    assert modules.runs("nft_do_chain")
    assert not modules.runs("ipt_do_table")


def test_a_kernel_that_names_no_functions_may_have_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "_SYMBOLS", tmp_path / "missing")
    assert modules.runs("nft_do_chain")


def test_a_part_that_is_built_in_shows_in_the_configuration_alone(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-6.1").write_text("CONFIG_VETH=y\nCONFIG_TUN=n\n")
    assert modules.known(tmp_path, "6.1") == {"veth"}
