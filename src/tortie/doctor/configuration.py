"""This host's own configuration: what of it cannot be used, and what nobody reads."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.doctor.finding import Finding, error, note
from tortie.doctor.host import Host


def check(host: Host) -> Iterator[Finding]:
    fault = host.fault or host.settings.datastore_fault
    if fault:
        yield error(
            f"the configuration cannot be used: {fault}",
            "/etc/tortie/tortie.toml, TORTIE_* in the environment, or calicoctl's configuration",
            "the agent does not start with it; this command looked in the usual places",
            "mend the value that the text names",
        )
    for warning in host.oddities:
        yield note(
            warning,
            "/etc/tortie/tortie.toml, or TORTIE_* in the environment",
            "it is without effect, so something else may be in force than was meant",
            "take it out, or spell it as the user guide does",
        )
