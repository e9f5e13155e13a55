"""JSONPath templates as kubectl's `-o jsonpath=` takes them: text, and paths in braces.

    {.metadata.name}                        a field; ['metadata.name'] is the same, and \\. is a dot in a name
    {.items[0]} {.items[-1]} {.items[0:9:2]} elements; [*] or .* all
    {.items[*]['kind', 'metadata.name']}    several; [0,2] too
    {..name}                                at any depth
    {.items[?(@.spec.node=="n")]}           those for which it holds: == != < <= > >=, or that a path leads somewhere
    {range .items[*]}...{end}               the rest once for each
    {"\\n"} {'text'}                          text with escapes

What a path does not find is nothing, and no error. `$` and `@` stand for the current value, as in kubectl.
Several values are divided by a blank; lists and objects are printed as JSON.
"""

from __future__ import annotations

from typing import Any

from tortie.cli.jsonpath.evaluate import render
from tortie.cli.jsonpath.parser import JsonPathError, parse

__all__ = ["JsonPath", "JsonPathError"]


class JsonPath:
    """A parsed template."""

    def __init__(self, text: str) -> None:
        """Raises JsonPathError. A text without braces that begins as a path does is one."""
        is_bare = "{" not in text and text[:1] in (".", "[", "$", "@")
        self._nodes = parse(f"{{{text}}}" if is_bare else text)

    def render(self, value: Any) -> str:
        """What the template says of a document; raises JsonPathError."""
        return render(self._nodes, value)
