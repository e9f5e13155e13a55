"""calicoctl's promise about templates: what they print is YAML, and no object's text changes its structure.

A rendering where each text of the data is a harmless word shows the structure that the template means. If that is
no YAML, the template is wrong; if the real rendering has another structure, an object has put it there. Names of
fields are structure: data may stand in a value, and with the function `StructuralData` anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from tortie.cli.gotemplate.errors import TemplateError

MAX_DEPTH = 100
_HINT = "; text of another form: -o jsonpath="


def harmless(text: str) -> str:
    """A word of the same length, so that `slice` finds what it looks for."""
    return "x" * max(1, len(text))


def check(meant: str, rendered: str) -> None:
    """Raises TemplateError; `meant` is the rendering with harmless words."""
    try:
        structure = _structure(meant)
    except yaml.YAMLError as error:
        raise TemplateError(f"Invalid YAML Template: {_reason(error)}{_HINT}") from None
    try:
        changed = structure != _structure(rendered)
        reason = "an object holds text that changes the structure; StructuralData allows it"
    except yaml.YAMLError as error:
        changed, reason = True, _reason(error)
    if changed:
        raise TemplateError(f"YAML Injection Detected: {reason}{_HINT}")


def _structure(text: str) -> list[Any]:
    """Documents as lists and objects, with None for each value; raises yaml.YAMLError.

    Made from events and without recursion: libyaml's composer overflows the stack on deep nesting.
    """
    documents: list[Any] = []
    within: list[_Open] = [_Open(documents)]
    anchors: set[str] = set()
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case yaml.DocumentStartEvent():
                anchors.clear()
            case yaml.CollectionStartEvent():
                if len(within) > MAX_DEPTH:
                    raise yaml.YAMLError("it is nested too deeply")
                inner: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
                within[-1].add(inner, None)
                within.append(_Open(inner))
            case yaml.CollectionEndEvent():
                within.pop()
            case yaml.AliasEvent():
                if event.anchor not in anchors:
                    raise yaml.YAMLError(f"there is no anchor &{event.anchor}")
                within[-1].add(None, f"*{event.anchor}")
            case yaml.ScalarEvent():
                within[-1].add(None, event.value)
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            anchors.add(event.anchor)
    return documents


@dataclass
class _Open:
    """A list or an object that is being read."""

    value: list[Any] | dict[str, Any]
    name: str | None = None  # of the field whose value comes next

    def add(self, shape: Any, text: str | None) -> None:
        if isinstance(self.value, list):
            self.value.append(shape)
        elif self.name is None:
            # A list or an object as a name is one that cannot be told apart from another.
            self.name = "" if text is None else text
            if self.name in self.value:
                raise yaml.YAMLError(f'"{self.name}" stands twice in one object')
        else:
            self.value[self.name] = shape
            self.name = None


def _reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"line {mark.line + 1}, column {mark.column + 1} of what it prints: {problem}" if mark else problem
