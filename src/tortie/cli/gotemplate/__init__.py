"""Go templates as calicoctl's `-o go-template=` takes them.

    text ──lexer──▶ tokens ──parser──▶ nodes ──evaluate──▶ text ──yamlsafe──▶ checked text

`values` is Go's view of values and `functions`, `printf` what may be called; `literals` and `errors` serve the rest.

Not there, because no resource needs it: methods, channels, complex numbers, other delimiters. A struct is printed as
a map of the fields that are set, since Go's order of fields is nowhere in a document.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from tortie.cli.gotemplate import evaluate, functions, parser, yamlsafe
from tortie.cli.gotemplate.errors import Source, TemplateError
from tortie.cli.gotemplate.functions import Function

__all__ = ["Function", "Template", "TemplateError"]


class Template:
    """A parsed template."""

    def __init__(self, text: str, names: Set[str] = frozenset()) -> None:
        """Raises TemplateError; `names` are those of functions besides the built-in ones, which `render` gets."""
        self._source = Source(text)
        self._parsed = parser.parse(self._source, {*functions.BUILT_IN, "and", "or", *names})

    def render(self, root: Any, calls: Mapping[str, Function]) -> str:
        """What the template says of a value, which is valid YAML; raises TemplateError."""
        calls = {**functions.BUILT_IN, **calls}
        rendered = evaluate.Renderer(self._source, self._parsed, calls).render(root)
        meant = evaluate.Renderer(self._source, self._parsed, calls, yamlsafe.harmless).render(root)
        yamlsafe.check(meant, rendered)
        return rendered
