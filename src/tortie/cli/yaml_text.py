"""Plain values as YAML text: keys in alphabetical order, no line folded, nothing that some reader would misread.

Own code for the structure, since PyYAML takes half a minute for a hundred thousand endpoints, and its judgement for
each text that is not plainly harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from tortie.cli.yaml_words import plain_meaning

_TEXT_TAG = "tag:yaml.org,2002:str"
# What documents are full of, and a command need not load PyYAML for: names, addresses, UUIDs; then numbers as text and
# moments. The words are all that PyYAML, or Go's reader, takes for something else.
_HARMLESS = re.compile(
    r"[A-Za-z][A-Za-z0-9./-]*|(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?:/[0-9]{1,2})?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_WORDS = {"y", "n", "yes", "no", "on", "off", "null", "true", "false"}
_MISTAKABLE = re.compile(r"[1-9][0-9]{0,17}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def render(value: Any) -> str:
    """The YAML document of a JSON value."""
    if isinstance(value, dict | list) and value:
        return "\n".join(_lines(value)) + "\n"
    return _scalar(value) + "\n"


def _lines(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    """The lines of a list or object that is not empty."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list) and item:
                lead = "- "
                for line in _lines(item):
                    yield lead + line
                    lead = "  "
            else:
                yield "- " + _scalar(item)
        return
    for name in sorted(value):
        item = value[name]
        if isinstance(item, dict | list) and item:
            yield _text(name) + ":"
            # A list stands below its name without being indented, as calicoctl prints it.
            lead = "  " if isinstance(item, dict) else ""
            for line in _lines(item):
                yield lead + line
        else:
            yield f"{_text(name)}: {_scalar(item)}"


def _scalar(value: Any) -> str:
    match value:
        case str():
            return _text(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case dict():
            return "{}"
        case list():
            return "[]"
    return _dumped(value)


@lru_cache(maxsize=1 << 16)
def _text(text: str) -> str:
    if _HARMLESS.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return f'"{text}"' if _MISTAKABLE.fullmatch(text) else _dumped(text)


def _dumped(value: Any) -> str:
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(), allow_unicode=True, width=1 << 30)
    return text.removesuffix("\n...\n").removesuffix("\n")


@cache
def _dumper() -> type[Any]:
    """PyYAML's, which quotes every text that some reader would take for something else, as calicoctl's printer does."""
    import yaml

    class Dumper(yaml.CSafeDumper):
        pass

    def represent(dumper: Dumper, text: str) -> yaml.ScalarNode:
        # PyYAML knows the words of YAML 1.1 but for y and n, which Go's reader takes for booleans.
        plain = plain_meaning(text) == text and text not in ("y", "Y", "n", "N") and text.isprintable()
        plain = plain and dumper.resolve(yaml.ScalarNode, text, (True, False)) == _TEXT_TAG  # type: ignore[no-untyped-call]  # not in the stubs
        return dumper.represent_scalar(_TEXT_TAG, text, style=None if plain else '"')

    Dumper.add_representer(str, represent)
    return Dumper
