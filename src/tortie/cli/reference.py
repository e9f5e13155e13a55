"""The reference of resources, one page a kind, written from the model: `python -m tortie.cli.reference DIRECTORY`.

The pages stand in `docs/reference/resources`; a test fails when they are not what this module writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tortie.cli import examples, fields
from tortie.cli.api_resources import short_names
from tortie.cli.fields import Field
from tortie.model import allocation, keys
from tortie.model.kind import Kind
from tortie.model.kinds import KINDS
from tortie.model.resource import API_VERSION
from tortie.model.schema import Spec

# What IPAM keeps that is no resource: what Calico calls it, its struct, and its key.
ALLOCATION: Mapping[str, tuple[type[Spec], str]] = {
    "IPAMBlock": (allocation.Block, f"{keys.BLOCKS}ipv4/block/10.65.0.0-26"),
    "IPAMHandle": (allocation.Handle, f"{keys.HANDLES}HANDLE"),
    "IPAMAffinity": (allocation.Affinity, f"{keys.IPAM}host/NODE/ipv4/block/10.65.0.0-26"),
    "IPAMConfig": (allocation.IpamConfig, keys.IPAM_CONFIG),
}
_METADATA = ("name", "namespace", "labels", "annotations", "resourceVersion")
_GENERATED = "<!-- Written from the model by scripts/reference: change the model and run it again. -->"


def pages() -> dict[str, str]:
    """All pages by file name."""
    written = {"README.md": _index()}
    written |= {_file(kind.name): _page("\n".join(_of_kind(kind))) for kind in KINDS.values()}
    written |= {_file(name): _page("\n".join(_of_value(name))) for name in ALLOCATION}
    return written


def write(directory: Path) -> None:
    """Writes all pages, and removes those of kinds that are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    current = pages()
    for name, text in current.items():
        (directory / name).write_text(text)
    for file in directory.glob("*.md"):
        if file.name not in current:
            file.unlink()


def _page(body: str) -> str:
    return f"{_GENERATED}\n\n{body}"


def _file(name: str) -> str:
    return f"{name.lower()}.md"


def _index() -> str:
    lines = [
        "# Resources",
        "",
        f"The kinds of `{API_VERSION}`, as tortie and Calico's own tools read and write them. The same is to be had at",
        "the terminal: `tortie explain-kind KIND.FIELD`, `tortie api-resources`.",
        "",
        *_table(
            ("kind", "also", "namespaced", "what it is"),
            (
                (_link(kind.name), _code(short_names(kind)), "yes" if kind.namespaced else "", _summary(kind))
                for kind in KINDS.values()
            ),
        ),
        "",
        "IPAM keeps these besides, which are no resources: no command reads or writes them as such.",
        "",
        *_table(
            ("value", "what it is"),
            ((_link(name), fields.of_struct(name, cls).summary) for name, (cls, _) in ALLOCATION.items()),
        ),
        "",
        *_metadata_section(),
    ]
    return _page("\n".join(lines) + "\n")


def _metadata_section() -> Iterator[str]:
    """What stands in `metadata` of every kind, said once."""
    root = fields.of_kind(next(iter(KINDS.values())))
    known = fields.find(root, "metadata").fields
    yield "## metadata"
    yield ""
    yield "The same in every kind. What programs write besides is kept."
    yield ""
    yield from _field_table([field for field in known if field.name in _METADATA])


def _of_kind(kind: Kind[Any]) -> Iterator[str]:
    root = fields.of_kind(kind)
    name = "NAMESPACE/NAME" if kind.namespaced else "NAME"
    facts = [
        ("names", _code([kind.plural, *(alias for alias in kind.aliases if alias != kind.plural)])),
        ("scope", "namespaced" if kind.namespaced else "cluster"),
        ("key in the store", f"`{keys.kind_prefix(kind.name)}{name}`"),
        ("list", f"`{kind.list_name}`"),
    ]
    if kind.read_only:
        facts.append(("written by", "tortie and Calico's programs; users may only read it"))
    if kind.computed_name is not None:
        facts.append(("name", "follows from the spec"))
    if kind.built_in:
        facts.append(("always there", _code(resource.key.name for resource in kind.built_in)))
    if kind.undeletable:
        facts.append(("never deleted", _code(sorted(kind.undeletable))))
    if source := fields.source_of(kind.spec):
        facts.append(("Calico's definition", f"`{source}`"))
    yield f"# {kind.name}"
    yield ""
    yield root.text
    yield ""
    yield from _table(("", ""), facts)
    yield ""
    yield "## Example"
    yield ""
    yield f"```yaml\n{examples.of(kind).rstrip()}\n```"
    yield ""
    yield from _sections(fields.find(root, "spec"))
    if kind.status is not None:
        yield from _sections(fields.find(root, "status"))
    yield "## Columns"
    yield ""
    yield from _table(("`tortie get`", ""), _columns(kind))
    yield ""


def _of_value(name: str) -> Iterator[str]:
    cls, key = ALLOCATION[name]
    root = fields.of_struct(name, cls)
    facts = [("key in the store", f"`{key}`")]
    if source := fields.source_of(cls):
        facts.append(("Calico's definition", f"`{source}`"))
    yield f"# {name}"
    yield ""
    yield root.text
    yield ""
    yield from _table(("", ""), facts)
    yield ""
    yield "## Fields"
    yield ""
    yield from _field_table(root.fields)
    yield ""
    yield from _below(root)


def _sections(part: Field) -> Iterator[str]:
    """The fields of spec or status, and of each object within it."""
    yield f"## {part.path}"
    yield ""
    if part.fields:
        yield from _field_table(part.fields)
    else:
        yield "No fields."
    yield ""
    yield from _below(part)


def _below(part: Field) -> Iterator[str]:
    for field in fields.walk(part):
        if field.fields:
            yield f"### {field.path}"
            yield ""
            yield field.text
            yield ""
            yield from _field_table(field.fields)
            yield ""


def _field_table(known: Iterable[Field]) -> Iterator[str]:
    rows = [
        (
            f"`{field.name}`" + (" (required)" if field.required else ""),
            field.type,
            _escaped(field.allowed),
            _escaped(field.default),
            _escaped(field.text) + (" *Kept, without effect here.*" if field.without_effect else ""),
        )
        for field in known
    ]
    return _table(("field", "type", "allowed", "default", "meaning"), rows)


def _columns(kind: Kind[Any]) -> Iterator[tuple[str, str]]:
    for form, columns in (("", kind.columns), ("`-o wide`", kind.wide), ("custom-columns only", kind.hidden)):
        if columns:
            yield form, _code(column.heading for column in columns)


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _summary(kind: Kind[Any]) -> str:
    return _escaped(fields.about(kind))


def _link(name: str) -> str:
    return f"[{name}]({_file(name)})"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _escaped(text: str) -> str:
    """The text in a cell: a bar would end it, and an asterisk or an angle bracket begin something."""
    return "".join(
        part if number % 2 else part.replace("*", r"\*").replace("<", r"\<").replace("_", r"\_")
        for number, part in enumerate(_split_code(text.replace("|", r"\|")))
    )


def _split_code(text: str) -> Iterator[str]:
    """The text in turns outside and inside of backquotes, which stay."""
    for number, part in enumerate(text.split("`")):
        yield f"`{part}`" if number % 2 else part


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tortie.cli.reference DIRECTORY")
    write(Path(sys.argv[1]))
