"""Errors in calicoctl's words."""

from __future__ import annotations

from tortie.errors import InvalidResource, Problem, Sort, TortieError
from tortie.model.check import UNKNOWN_FIELD

# Where the metadata that a request needs is wrong Calico's clients say it in these words.
_OF_REQUESTS = {
    ("metadata.name", "is required"): ("Metadata.Name", "field must be set for a Create request"),
    ("metadata.resourceVersion", "field must not be set for a Create request"): (
        "Metadata.ResourceVersion",
        "field must not be set for a Create request",
    ),
}


_SHOWN_CHARACTERS = 253  # the longest name that an object can have


def sentence(error: TortieError) -> str:
    """What is wrong, in calicoctl's words."""
    if not isinstance(error, InvalidResource):
        return str(error)
    if len(error.problems) == 1:
        return one_problem(error.problems[0])
    listed = (f"-  {_field(problem)}" for problem in error.problems)
    return "\n".join(["error with the following fields:", *listed])


def one_problem(problem: Problem) -> str:
    """One thing that is wrong with an object, in calicoctl's words."""
    if is_unknown_field(problem):
        hint = problem.reason.removeprefix(UNKNOWN_FIELD)
        return f"field in document is not recognized or is in the wrong location: {problem.path}{hint}"
    return f"error with field {_field(problem)}" if problem.path else f"the object {problem.reason}"


def is_unknown_field(problem: Problem) -> bool:
    """Whether the model does not know the field; an update may then keep it."""
    return problem.sort is Sort.UNKNOWN_FIELD


def _field(problem: Problem) -> str:
    path, reason = _OF_REQUESTS.get((problem.path, problem.reason), (problem.path, problem.reason))
    return f"{path} = '{cut(problem.value)}' ({reason})"


def cut(text: str) -> str:
    """A text that a user wrote, so short that a message stays one."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
