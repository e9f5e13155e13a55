"""What calicoctl says at the end of a command that writes: from counts and errors to lines for stdout and stderr."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Verb(NamedTuple):
    """What a command does and has done."""

    present: str
    past: str


CREATE = Verb("create", "created")
APPLY = Verb("apply", "applied")
REPLACE = Verb("replace", "replaced")
VALIDATE = Verb("validate", "validated")


class Outcome(NamedTuple):
    """Text for the two streams; empty: nothing to say. Errors mean exit code 1."""

    stdout: str
    stderr: str


def of_write(verb: Verb, kinds: Collection[str], total: int, done: int, errors: Sequence[str]) -> Outcome:
    """The outcome of a command that was to write `total` objects of these kinds, and wrote `done`."""
    # `replace` shows one error bare. calicoctl shows no more than one, and counts what failed as replaced.
    listed = errors[0] if verb is REPLACE and len(errors) == 1 else f"[{' '.join(errors)}]"
    if done == total:
        return Outcome(f"Successfully {verb.past} {total} {_quoted(kinds)}resource(s)", "")
    if total == 1:
        return Outcome("", f"failed to {verb.present} {_quoted(kinds)}resource: {listed}")
    if not done:
        return Outcome("", f"failed to {verb.present} any {_quoted(kinds)}resources: {listed}")
    partial = f"Partial success: {verb.past} the first {done} out of {total} {_quoted(kinds)}resources:"
    return Outcome(partial if done > total - done else "", f"hit error: {listed}")


def of_delete(kinds: Collection[str], deleted: int, errors: Sequence[str]) -> Outcome:
    """The outcome of `delete`: each failure has a line of its own."""
    success = f"Successfully deleted {deleted} {_quoted(kinds)}resource(s)" if deleted else ""
    return Outcome(success, "\n".join(f"Failed to delete {_quoted(kinds)}resource: {error}" for error in errors))


def _quoted(kinds: Collection[str]) -> str:
    """`'IPPool' ` when all objects are of that kind, else nothing."""
    return "'{}' ".format(*kinds) if len(kinds) == 1 else ""
