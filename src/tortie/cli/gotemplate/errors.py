"""What can be wrong with a template, with its place: worded as Go words it, with the column besides."""

from __future__ import annotations

from tortie.errors import UsageError

NAME = "get"  # what calicoctl calls its one template


class TemplateError(UsageError):
    """The template cannot be read, or cannot be rendered with these objects."""


class Source:
    """The text of a template, which knows its lines."""

    def __init__(self, text: str) -> None:
        self.text = text

    def unreadable(self, position: int, reason: str) -> TemplateError:
        return TemplateError(f"template: {NAME}:{self._place(position)}: {reason}")

    def failed(self, position: int, what: str, reason: str) -> TemplateError:
        return TemplateError(f'template: {NAME}:{self._place(position)}: executing "{NAME}" at <{what}>: {reason}')

    def _place(self, position: int) -> str:
        line = self.text.count("\n", 0, position) + 1
        return f"{line}:{position - self.text.rfind(chr(10), 0, position)}"
