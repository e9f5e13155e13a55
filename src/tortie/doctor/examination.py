"""All checks: each on its own, bounded in time, and none stopped by another's failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tortie.doctor import (
    agent,
    bird,
    configuration,
    features,
    limits,
    mtu,
    networkd,
    networkmanager,
    path_mtu,
    rivals,
    rules,
    sysctls,
    udev,
)
from tortie.doctor.finding import Finding, Result, Severity, Unseen
from tortie.doctor.firewall import verdicts
from tortie.doctor.host import Host

TIMEOUT_S = 15.0

Check = Callable[[Host], Iterable[Result]]

# In the order in which their findings are told, within one severity.
CHECKS: Mapping[str, Check] = {
    "configuration": configuration.check,
    "agent": agent.check,
    "bird": bird.check,
    "rivals": rivals.check,
    "rules": rules.check,
    "sysctls": sysctls.check,
    "nftables": verdicts.check_nftables,
    "iptables-legacy": verdicts.check_legacy,
    "networkd": networkd.check,
    "networkmanager": networkmanager.check,
    "udev": udev.check,
    "kernel": features.check,
    "limits": limits.check,
    "mtu": mtu.check,
    "path-mtu": path_mtu.check,
}


class Examined(NamedTuple):
    """What all checks said, each with its check's name."""

    findings: list[tuple[str, Finding]]
    unseen: list[tuple[str, Unseen]]

    @property
    def healthy(self) -> bool:
        return all(finding.severity is Severity.NOTE for _, finding in self.findings)


def examine(host: Host, checks: Mapping[str, Check] = CHECKS, timeout_s: float = TIMEOUT_S) -> Examined:
    """Runs all checks side by side in the network namespace of the calling thread."""
    runs = {name: _Run(name, check, host) for name, check in checks.items()}
    until = time.monotonic() + timeout_s
    findings: list[tuple[str, Finding]] = []
    unseen: list[tuple[str, Unseen]] = []
    for name, run in runs.items():
        for result in run.results(until, timeout_s):
            if isinstance(result, Unseen):
                unseen.append((name, result))
            else:
                findings.append((name, result))
    findings.sort(key=lambda pair: list(Severity).index(pair[1].severity))
    return Examined(findings, unseen)


class _Run:
    """A check in a thread, which is left behind when it does not end."""

    def __init__(self, name: str, check: Check, host: Host) -> None:
        self._results: list[Result] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(check, host), name=f"check {name}", daemon=True)
        self._thread.start()

    def _run(self, check: Check, host: Host) -> None:
        try:
            for result in check(host):
                self._results.append(result)
        except Exception as failure:  # whatever it is, the others go on
            self._failure = failure

    def results(self, until: float, timeout_s: float) -> list[Result]:
        """What it found by then."""
        self._thread.join(max(0.0, until - time.monotonic()))
        found = list(self._results)
        if self._thread.is_alive():
            found.append(Unseen("the rest of this check", f"no end after {timeout_s:g} s"))
        elif self._failure is not None:
            found.append(Unseen("the rest of this check", f"{self._failure}" or type(self._failure).__name__))
        return found
