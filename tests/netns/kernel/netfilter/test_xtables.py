"""iptables and IP sets by their programs, in both variants and both families."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace
from tortie.errors import Busy, Refused
from tortie.kernel.netfilter import ipset, xtables
from tortie.kernel.netfilter.rule import Figures
from tortie.kernel.netfilter.socket import NetfilterSocket
from tortie.kernel.netfilter.xtables import Counted, Family, Variant, Xtables, used_tables

CHAIN = "*{table}\n:mine - [0:0]\n-A mine -j RETURN\nCOMMIT\n"


@pytest.fixture(params=list(Variant))
def variant(request: pytest.FixtureRequest) -> Variant:
    return Variant(request.param)


@pytest.fixture
def tables(host: Namespace, variant: Variant, tmp_path: Path) -> Iterator[Xtables]:
    made = host.call(lambda: Xtables(variant, str(tmp_path / "lock")))
    yield made
    made.close()


@pytest.mark.parametrize("family", [4, 6])
def test_what_goes_in_is_listed_and_seen_as_a_change(host: Namespace, tables: Xtables, family: Family) -> None:
    assert not tables.changed()
    for text in (CHAIN.format(table="filter"), CHAIN.format(table="raw"), "*filter\n-F mine\nCOMMIT\n"):
        host.call(lambda text=text: tables.restore(family, text))  # type: ignore[misc]
        assert tables.changed()
        host.call(tables.note)
        assert not tables.changed()
    listed = host.call(lambda: tables.save(family))
    assert (listed.count(":mine - "), listed.count("-A mine -j RETURN")) == (2, 1)
    assert "mine" not in host.call(lambda: tables.save(10 - family))  # type: ignore[arg-type]  # the other one


@pytest.mark.parametrize("family", [4, 6])
def test_other_tables_are_looked_at_once_they_are_used(host: Namespace, tables: Xtables, family: Family) -> None:
    host.call(lambda: tables.restore(family, CHAIN.format(table="nat")))
    assert not tables.changed()
    tables.watch(family, ["nat"])
    host.call(tables.note)
    assert not tables.changed()
    host.call(lambda: tables.restore(family, "*nat\n-F mine\nCOMMIT\n"))
    assert tables.changed()
    assert "nat" not in host.call(lambda: tables.save(10 - family))  # type: ignore[arg-type]  # the other one


def test_a_refusal_has_the_programs_words_and_changes_nothing(host: Namespace, tables: Xtables) -> None:
    host.call(lambda: tables.restore(4, CHAIN.format(table="filter")))
    host.call(tables.note)
    with pytest.raises(Refused, match="Set nowhere doesn't exist"):
        host.call(
            lambda: tables.restore(4, "*filter\n-A mine -j DROP\n-A mine -m set --match-set nowhere src\nCOMMIT\n")
        )
    assert not tables.changed()


@pytest.mark.parametrize("variant", [Variant.LEGACY])
def test_a_lock_that_is_held_too_long(
    host: Namespace, tables: Xtables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(xtables, "LOCK_WAIT_S", 1)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another program holds the lock"):
            host.call(lambda: tables.restore(4, CHAIN.format(table="filter")))
    host.call(lambda: tables.restore(4, CHAIN.format(table="filter")))


@pytest.mark.parametrize("variant", [Variant.NFT])
def test_more_changes_than_the_socket_holds_are_seen_at_once(
    host: Namespace, tables: Xtables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is queued before the loss is as much as many looks would take."""
    rules = "".join(f"-A mine -s 10.{number >> 8}.{number & 255}.0/24 -j DROP\n" for number in range(5000))
    host.call(lambda: tables.restore(4, f"*filter\n:mine - [0:0]\n{rules}COMMIT\n"))
    host.call(tables.note)
    assert tables.changed() == frozenset()
    for _ in range(3):
        host.run("iptables-nft -F")
        assert tables.changed() == {4, 6}  # which ones is lost
        host.call(tables.note)
        host.call(lambda: tables.restore(4, f"*filter\n{rules}COMMIT\n"))
        host.call(tables.note)


def test_sets_are_listed_and_their_sizes_seen(host: Namespace, sock: NetfilterSocket) -> None:
    def put(*lines: str) -> None:
        host.call(lambda: ipset.restore(lines))

    put("create mine4 hash:net family inet", "create mine6 hash:ip,port family inet6", "create theirs hash:ip")
    sizes = [ipset.sizes(sock, "mine")]
    put("add mine4 10.0.0.0/8", "add mine4 10.0.0.1", "add mine6 fd00::1,tcp:80", "add mine4 10.0.0.1")
    sizes.append(ipset.sizes(sock, "mine"))
    put("add theirs 192.0.2.1")
    assert ipset.sizes(sock, "mine") == sizes[1] == frozenset({("mine4", 2), ("mine6", 1)})
    assert sizes[0] == frozenset({("mine4", 0), ("mine6", 0)})
    found = {each.name: (each.type, each.family, sorted(each.members)) for each in host.call(lambda: [*ipset.save()])}
    assert found == {
        "mine4": ("hash:net", "inet", ["10.0.0.0/8", "10.0.0.1"]),
        "mine6": ("hash:ip,port", "inet6", ["fd00::1,tcp:80"]),
        "theirs": ("hash:ip", "inet", ["192.0.2.1"]),
    }


def test_the_line_that_fails_is_named_and_those_before_it_are_done(host: Namespace, sock: NetfilterSocket) -> None:
    lines = ["create mine hash:net", "add mine 10.0.0.1", "add mine 0.0.0.0/0", "add mine 10.0.0.2"]
    with pytest.raises(ipset.LineFailed, match=r"add mine 0\.0\.0\.0/0") as caught:
        host.call(lambda: ipset.restore(lines))
    assert (caught.value.index, type(caught.value.error)) == (2, Refused)
    assert ipset.sizes(sock, "mine") == frozenset({("mine", 1)})


def test_a_set_in_use_stays(host: Namespace, tables: Xtables) -> None:
    host.call(lambda: ipset.restore(["create mine hash:net"]))
    rule = "*filter\n:mine - [0:0]\n-A mine -m set --match-set mine src -j DROP\nCOMMIT\n"
    host.call(lambda: tables.restore(4, rule))
    with pytest.raises(ipset.LineFailed) as caught:
        host.call(lambda: ipset.restore(["destroy mine"]))
    assert isinstance(caught.value.error, Busy)
    host.call(lambda: tables.restore(4, "*filter\n-F mine\nCOMMIT\n"))
    host.call(lambda: ipset.restore(["destroy mine"]))


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_counted_is_read_and_goes_on(
    host: Namespace, tables: Xtables, variant: Variant, family: Family
) -> None:
    rules = '[7:700] -A mine -m comment --comment "one rule" -j RETURN\n-A mine -j DROP\n[5:500] -A other -j RETURN\n'
    text = f"*filter\n:mine - [0:0]\n:other - [0:0]\n{rules}COMMIT\n"
    host.call(lambda: tables.restore(family, text))
    found = host.call(lambda: xtables.counted(variant, family, "filter", ["mine", "absent"]))
    # ip6tables-nft 1.8.9 passes over the figures that it is given.
    first = (
        Figures(0, 0) if (variant, family) == (Variant.NFT, 6) and found[0].figures.packets == 0 else Figures(7, 700)
    )
    assert found == [Counted("mine", "one rule", first), Counted("mine", "", Figures(0, 0))]


def test_a_table_that_nobody_uses_is_not_made_by_looking(host: Namespace, variant: Variant) -> None:
    there = [] if variant is Variant.LEGACY else ["filter", "mangle"]
    for _ in range(2):
        assert host.call(lambda: used_tables(variant, 4, ["filter", "mangle"])) == there
