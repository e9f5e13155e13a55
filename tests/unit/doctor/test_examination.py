"""Checks side by side: failures, time limits, the order of findings, the two forms of the report."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import click
import pytest

from tortie.doctor import configuration, report
from tortie.doctor.examination import CHECKS, Check, Examined, examine
from tortie.doctor.finding import Finding, Result, Unseen, error, note, warning
from tortie.doctor.host import Host
from tortie.errors import KernelError

NOTE, WARNING, ERROR = (say("what", "where", "why", "do") for say in (note, warning, error))


def saying(*results: Result) -> Check:
    return lambda _: results


def failing(_: Host) -> Iterator[Result]:
    yield WARNING
    raise KernelError("list links: Operation not permitted")


def test_the_worst_comes_first_and_then_the_order_of_checks() -> None:
    found = examine(Host(), {"a": saying(NOTE, ERROR), "b": saying(WARNING), "c": saying(ERROR)})
    assert found.findings == [("a", ERROR), ("c", ERROR), ("b", WARNING), ("a", NOTE)]
    assert not found.healthy


def test_a_check_that_fails_keeps_what_it_found_and_stops_no_other() -> None:
    found = examine(Host(), {"a": failing, "b": saying(ERROR)})
    assert found.findings == [("b", ERROR), ("a", WARNING)]
    assert found.unseen == [("a", Unseen("the rest of this check", "list links: Operation not permitted"))]


def test_a_check_that_does_not_end_is_left_behind() -> None:
    end = threading.Event()

    def hanging(_: Host) -> Iterator[Result]:
        yield NOTE
        end.wait()

    found = examine(Host(), {"a": hanging, "b": saying(ERROR)}, timeout_s=0.1)
    end.set()
    assert found.findings == [("b", ERROR), ("a", NOTE)]
    assert found.unseen == [("a", Unseen("the rest of this check", "no end after 0.1 s"))]


@pytest.mark.parametrize(
    ("results", "healthy"),
    [([], True), ([NOTE], True), ([WARNING], False), ([ERROR], False), ([Unseen("a", "b")], True)],
)
def test_notes_and_what_is_unseen_are_not_wrong(results: list[Result], healthy: bool) -> None:
    assert examine(Host(), {"a": saying(*results)}).healthy is healthy


def test_the_text_is_aligned() -> None:
    found = Examined([("a", ERROR), ("a", NOTE)], [("b", Unseen("rules", "needs root"))])
    assert [click.unstyle(line) for line in report.text(found)] == [
        "error    what",
        "  where  where",
        "    why  why",
        "     do  do",
        "note     what",
        "  where  where",
        "    why  why",
        "     do  do",
        "unseen   rules (b): needs root",
        "",
        "1 error, 1 note",
    ]


@pytest.mark.parametrize(
    ("found", "last"),
    [
        (Examined([], []), "nothing is wrong"),
        (Examined([("a", NOTE)], []), "nothing is wrong, 1 note"),
        (Examined([], [("a", Unseen("x", "y"))]), "nothing is wrong with what was seen"),
        (Examined([("a", ERROR), ("a", ERROR), ("a", WARNING)], []), "2 errors, 1 warning"),
    ],
)
def test_the_last_line_sums_up(found: Examined, last: str) -> None:
    assert click.unstyle(list(report.text(found))[-1]) == last


def test_the_form_for_programs() -> None:
    found = Examined([("mtu", WARNING)], [("nftables", Unseen("rules", "needs root"))])
    assert json.loads(report.as_json(found)) == {
        "healthy": False,
        "findings": [
            {"check": "mtu", "severity": "warning", "what": "what", "where": "where", "why": "why", "do": "do"}
        ],
        "unseen": [{"check": "nftables", "what": "rules", "why": "needs root"}],
    }


def test_a_configuration_that_cannot_be_used_is_a_finding() -> None:
    found: list[Finding] = list(configuration.check(Host(fault="no number", oddities=["nod is not a setting"])))
    assert [(str(each.severity), each.what) for each in found] == [
        ("error", "the configuration cannot be used: no number"),
        ("note", "nod is not a setting"),
    ]


def test_names_of_checks_are_words_for_programs() -> None:
    assert all(name == name.lower() and " " not in name for name in CHECKS)
