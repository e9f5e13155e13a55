"""Errors in calicoctl's words."""

from __future__ import annotations

from tortie.errors import InvalidResource, Problem, TortieError
from tortie.model.check import UNKNOWN_FIELD


def sentence(error: TortieError) -> str:
    """What is wrong, in calicoctl's words."""
    if not isinstance(error, InvalidResource):
        return str(error)
    if len(error.problems) == 1:
        return one_problem(error.problems[0])
    listed = (f"-  {problem.path} = '{problem.value}' ({problem.reason})" for problem in error.problems)
    return "\n".join(["error with the following fields:", *listed])


def one_problem(problem: Problem) -> str:
    """One thing that is wrong with an object, in calicoctl's words."""
    if is_unknown_field(problem):
        hint = problem.reason.removeprefix(UNKNOWN_FIELD)
        return f"field in document is not recognized or is in the wrong location: {problem.path}{hint}"
    return f"error with field {problem.path} = '{problem.value}' ({problem.reason})"


def is_unknown_field(problem: Problem) -> bool:
    """Whether the model does not know the field; an update may then keep it."""
    return problem.reason.startswith(UNKNOWN_FIELD)
