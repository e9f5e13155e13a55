"""The record of the values that sysctls had before: kept whole, whatever happens while it is written."""

from __future__ import annotations

from pathlib import Path

from tortie.dataplane.l3.originals import Originals, recorded

HERE = "ipv4/ip_forward"
GONE = "ipv4/conf/tt-not-there/rp_filter"


def test_the_first_value_of_a_path_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "state" / "original-sysctls"
    record = Originals(file)
    record.record(HERE, "0")
    record.record(HERE, "1")
    Originals(file).record(HERE, "1")
    assert file.read_text() == f"{HERE}\t0\n"


def test_what_is_gone_is_dropped_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "original-sysctls"
    file.write_text(f"{HERE}\t0\n{GONE}\t1\n")
    Originals(file)
    assert file.read_text() == f"{HERE}\t0\n"


def test_a_line_cut_short_by_a_crash_costs_that_line_only(tmp_path: Path) -> None:
    file = tmp_path / "original-sysctls"
    file.write_text(f"{HERE}\t0\nipv4/conf/al")
    record = Originals(file)
    record.record("ipv4/conf/all/send_redirects", "1")
    assert file.read_text().splitlines() == [f"{HERE}\t0", "ipv4/conf/all/send_redirects\t1"]


def test_a_rewrite_that_fails_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "original-sysctls"
    file.write_text(f"{HERE}\t0\n{GONE}\t1\n")
    (tmp_path / "original-sysctls.new").mkdir()
    Originals(file)
    assert file.read_text() == f"{HERE}\t0\n{GONE}\t1\n"


def test_who_only_reads_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "state" / "original-sysctls"
    assert recorded(file) == {}
    assert not file.parent.exists()
    Originals(file).record(HERE, "0")
    file.write_text(f"{file.read_text()}{HERE}\t1\n{GONE}\t1\n")
    assert recorded(file) == {HERE: "0", GONE: "1"}
