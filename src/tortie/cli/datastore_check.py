"""What `tortie datastore check` says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from tortie.access import Access
from tortie.cli.store import opened_store
from tortie.cli.tables import aligned
from tortie.datastore import check
from tortie.datastore.check import Finding


async def examine(access: Access) -> list[Finding]:
    async with opened_store(access) as datastore:
        return await check.examine(datastore, datetime.now(UTC))


def render(findings: Sequence[Finding], form: str, url: str) -> str:
    """The findings for people, or for programs."""
    problems = [finding for finding in findings if finding.is_problem]
    notices = [finding for finding in findings if not finding.is_problem]
    if form == "json":
        report = {"datastore": url, "problems": list(map(_json, problems)), "notices": list(map(_json, notices))}
        return json.dumps(report, indent=2) + "\n"
    parts = [
        aligned([(heading, "FIELD", "REASON"), *((each.subject, each.path, each.reason) for each in some)]) + "\n"
        for heading, some in (("PROBLEM", problems), ("NOTICE", notices))
        if some
    ]
    return "".join(parts) + f"Check complete; found {len(problems)} problems.\n"


def _json(finding: Finding) -> dict[str, str]:
    return {"subject": finding.subject, "path": finding.path, "reason": finding.reason}
