"""The errors of tortie, told apart by what the caller does next.

    TortieError
    ├── InvalidResource        the object is wrong: report it by name, treat it as absent
    ├── UsageError             the user asked for something that cannot be: say why, exit 2
    ├── DatastoreError
    │   ├── Unavailable        retry with backoff; the last known state stays in force
    │   │   └── NoStore        nothing is where one would be kept: make it, or ask whether the place is right
    │   ├── Conflict           somebody wrote first: read again, decide again
    │   ├── AlreadyExists      a create met an object
    │   ├── NotFound           an update or delete met nothing
    │   ├── Compacted          the watch is too old: list again and compare
    │   ├── FormatTooNew       written by a newer tortie: refuse, never guess
    │   └── ForeignCluster     another cluster than the known one: write nothing, the last known state stays in force
    ├── KernelError            carries errno
    │   ├── Gone               the object vanished: an expected race, look again
    │   ├── LinkDown           the interface is down: wait for its event
    │   ├── Exists             the key is held by somebody else: report, wait for a change
    │   ├── Busy               retry soon
    │   ├── Refused            the kernel says no to this row: report it, long backoff
    │   └── Unsupported        the kernel lacks the feature: fall back, report
    ├── BirdError              BIRD refused, or cannot be reached: keep the old configuration, retry
    └── AttachError            a workload could not be joined: everything done is undone, tell the user

A folder may have finer kinds of its own, raised and caught near each other: `CommandFailed` (kernel/run), `Unreachable`
of BIRD (bgp/control) and of the agent (cli/agent_client), `LabError` (lab/process), `TransactionFailed`
(kernel/netfilter/transaction).

A programming error is none of these: it is left to crash, since a restart is safe.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class TortieError(Exception):
    """Base of all errors that tortie raises on purpose; `str()` is a sentence for the user."""


class Sort(Enum):
    """What sort of problem it is; who reports one may word each sort otherwise."""

    RULE = "rule"  # the value can be read, and breaks a rule
    TYPE = "type"  # the value cannot be read: another JSON type than its field's, or no number, duration ...
    UNKNOWN_FIELD = "unknown field"  # nobody here knows the field


class Problem(NamedTuple):
    """One thing that is wrong with an object."""

    path: str  # field path as in the document, `spec.bgp.asNumber`; empty for the object itself
    value: str  # the offending value as the user wrote it, empty when there is none
    reason: str  # what is allowed
    sort: Sort = Sort.RULE

    def __str__(self) -> str:
        where = self.path or "object"
        return f"{where}: {self.reason}" + (f" (got {self.value})" if self.value else "")


class InvalidResource(TortieError):
    """An object that breaks the rules of its kind; `subject` is `Kind(name)` or the place in a file."""

    def __init__(self, subject: str, problems: tuple[Problem, ...]) -> None:
        self.subject = subject
        self.problems = problems
        super().__init__(f"{subject}: " + "; ".join(str(problem) for problem in problems))


class UsageError(TortieError):
    """The request itself makes no sense; nothing was tried."""


class DatastoreError(TortieError):
    """The datastore could not do what was asked."""


class Unavailable(DatastoreError):
    """No answer from the datastore now."""


class NoStore(Unavailable):
    """There is no store where it would be kept: in a file."""


class Conflict(DatastoreError):
    """The object changed since it was read."""


class AlreadyExists(DatastoreError):
    """There is an object of that name."""


class NotFound(DatastoreError):
    """There is no object of that name."""


class Compacted(DatastoreError):
    """History before `revision` is gone: list again and compare."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        super().__init__(f"history before revision {revision} is compacted")


class FormatTooNew(DatastoreError):
    """The store or file was written by a newer tortie."""


class ForeignCluster(DatastoreError):
    """The store holds another cluster than the one that this host belongs to, or none."""


class KernelError(TortieError):
    """The kernel refused an operation; `errno` is 0 where the refusal is our own reading of the answer."""

    def __init__(self, message: str, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(message)


class Gone(KernelError):
    """The object is not there (any more)."""


class LinkDown(KernelError):
    """The interface is down or has no carrier."""


class Exists(KernelError):
    """An object with this key exists and is not ours to replace."""


class Busy(KernelError):
    """The kernel cannot do it now."""


class Refused(KernelError):
    """The kernel judged the row itself invalid or not permitted."""


class Unsupported(KernelError):
    """This kernel lacks the feature."""


class BirdError(TortieError):
    """BIRD refused a configuration or did not answer."""


class AttachError(TortieError):
    """A workload could not be attached or detached."""
