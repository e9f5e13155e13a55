"""What was found, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from tortie.doctor.examination import Examined
from tortie.doctor.finding import Severity

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_WIDTH = max(map(len, Severity))


def text(examined: Examined) -> Iterator[str]:
    """Lines, which may be styled: one for each finding, with its place, reason and cure below."""
    for _, finding in examined.findings:
        yield click.style(f"{finding.severity:{_WIDTH}}  {finding.what}", _COLOURS[finding.severity])
        for label, said in (("where", finding.where), ("why", finding.why), ("do", finding.do)):
            yield f"{label:>{_WIDTH}}  {said}"
    for check, unseen in examined.unseen:
        yield f"{'unseen':{_WIDTH}}  {unseen.what} ({check}): {unseen.why}"
    if examined.findings or examined.unseen:
        yield ""
    yield _verdict(examined)


def as_json(examined: Examined) -> str:
    """`healthy`, `findings`, `unseen`: keys are added in later versions, and none is renamed."""
    return json.dumps(
        {
            "healthy": examined.healthy,
            "findings": [{"check": check, **finding._asdict()} for check, finding in examined.findings],
            "unseen": [{"check": check, **unseen._asdict()} for check, unseen in examined.unseen],
        },
        indent=2,
    )


def _verdict(examined: Examined) -> str:
    severities = [finding.severity for _, finding in examined.findings]
    counts = [(severities.count(severity), str(severity)) for severity in Severity]
    said = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count)
    if examined.healthy:
        rest = f", {said}" if said else ""
        return click.style(f"nothing is wrong{' with what was seen' if examined.unseen else ''}{rest}", "green")
    return click.style(said, "red")
