"""How a policy backend is found."""

from __future__ import annotations

import pytest

from tortie.dataplane import contract
from tortie.dataplane.naming import shortened
from tortie.errors import UsageError


def test_backends_are_found_by_their_folders() -> None:
    assert {"nftables", "iptables-legacy", "iptables-nft"} <= set(contract.names())
    for name in contract.names():
        assert isinstance(contract.load(name), contract.Backend)


@pytest.mark.parametrize("name", ["", "l3", "iptables", "iptables-pf", "contract", "nftables-nft"])
def test_what_is_no_backend_is_told_what_is(name: str) -> None:
    with pytest.raises(UsageError, match=rf"no policy backend '{name}'; there are: iptables-legacy, iptables-nft"):
        contract.load(name)


def test_a_name_that_is_cut_differs_from_all_others() -> None:
    names = ["a" * 28, "a" * 29, "a" * 30, "é" * 3, "è" * 3]
    cut = [shortened(name, 28) for name in names]
    assert cut[0] == names[0]
    assert len(set(cut)) == len(names)
    assert max(map(len, cut)) == 28
