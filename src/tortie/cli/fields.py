"""What the fields of a kind are, from the model itself: types, allowed values, defaults and docstrings.

The model is the only source. Types, requirements and defaults come from its type information, allowed values from the
sentences of its validator, and meanings from the texts that stand below the fields in its source, where only a parser
finds them.

A text may hold a sentence `Default: ...`, which is told apart from the rest; the docstring of a struct may end with a
line `Source: FILE`, where Calico defines the same.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect as mi

from tortie.errors import UsageError
from tortie.model import kinds
from tortie.model.check import allowed, plain_type, type_info
from tortie.model.document import ObjectMeta
from tortie.model.kind import Kind
from tortie.model.names import suggestion
from tortie.model.resource import API_VERSION
from tortie.model.schema import Spec

# What the classes of fields that are one text or number are called (see tortie.model.codec).
_WORDS = {
    "AsNumber": "AS number",
    "CommaList": "text",
    "Dscp": "DSCP",
    "IPAddress": "address",
    "IPv4AddressField": "address",
    "IPv6AddressField": "address",
    "SingleAddress": "address",
    "PeerAddress": "address",
    "IPInterface": "interface address",
    "IPv4InterfaceField": "interface address",
    "IPv6InterfaceField": "interface address",
    "IPNetwork": "prefix",
    "PoolCidr": "prefix",
    "BlockCidr": "prefix",
    "PrefixV4": "prefix",
    "PrefixV6": "prefix",
    "Mac": "Ethernet address",
    "NamespaceSelector": "selector",
    "NotDeleted": "boolean",
    "Order": "number",
    "PortOrName": "port number or name",
    "RuleNetwork": "prefix",
    "UInt64": "whole number",
}
_DEFAULT = re.compile(r"\s*\bDefault: (?P<words>.+?)\.(?=\s|\Z)")
_SENTENCE = re.compile(r".+?\.(?=\s|\Z)")
_INDEX = re.compile(r"\[[0-9]*\]")


class Field(NamedTuple):
    """One field of a document, or a whole document, whose name is that of its kind and whose path is empty."""

    name: str  # as documents spell it
    path: str  # from the document's root, with dots and without a sign for lists
    type: str  # in words: "list of objects"
    required: bool = False
    allowed: str = ""  # what the type does not say; empty: everything of its type
    default: str = ""  # in words; empty: nothing
    text: str = ""  # what it means
    without_effect: bool = False  # tortie keeps it and does nothing with it
    fields: tuple[Field, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence of the text."""
        return _first_sentence(self.text)


def of_kind(kind: Kind[Any]) -> Field:
    """A whole document of the kind."""
    parts = [
        Field("apiVersion", "apiVersion", "text", True, API_VERSION, "", "Group and version of the kind."),
        Field("kind", "kind", "text", True, kind.name, "", "The kind."),
        _part("metadata", ObjectMeta, "What the object is called, and what selects it.", required=True),
        _part("spec", kind.spec, "What is wanted.", required=_needs(kind.spec), honoured=kind.honoured),
    ]
    if kind.status is not None:
        parts.append(_part("status", kind.status, "What was found. Written by programs, not by users."))
    return Field(kind.name, "", "object", text=text_of(kind.spec), fields=tuple(parts))


def about(kind: Kind[Any]) -> str:
    """What the kind is, in one sentence: the first of its module."""
    text = inspect.cleandoc(sys.modules[f"{kinds.__name__}.{kind.name.lower()}"].__doc__ or "").partition("\n\n")[0]
    first = _first_sentence(_joined(text.splitlines()).removeprefix(f"{kind.name}: "))
    return first[:1].upper() + first[1:]


def of_struct(name: str, cls: type[Spec]) -> Field:
    """A whole document that is no resource."""
    return Field(name, "", "object", text=text_of(cls), fields=_fields(cls, ""))


def find(root: Field, path: str) -> Field:
    """The field at a path such as `spec.ingress`, in any case, list indices aside; raises UsageError."""
    field = root
    for name in filter(None, _INDEX.sub("", path).split(".")):
        below = {each.name.lower(): each for each in field.fields}
        if name.lower() not in below:
            where = f"{root.name}.{field.path}" if field.path else root.name
            raise UsageError(f"{where} has no field '{name}'{_hint(root, field, name)}")
        field = below[name.lower()]
    return field


def walk(field: Field) -> Iterable[Field]:
    """All fields below a field, each before those within it."""
    for each in field.fields:
        yield each
        yield from walk(each)


def text_of(cls: type) -> str:
    """The docstring of a struct without its source."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    return _joined(line for line in lines if not line.startswith("Source: "))


def source_of(cls: type) -> str:
    """Which file of Calico defines the same; empty when the docstring names none."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    return next((line.removeprefix("Source: ") for line in lines if line.startswith("Source: ")), "")


def _hint(root: Field, field: Field, name: str) -> str:
    """What may have been meant: a field that is spelt like this, or one of this name elsewhere."""
    if near := suggestion(name, [each.name for each in field.fields]):
        return near
    elsewhere = next((each.path for each in walk(root) if each.name.lower() == name.lower()), "")
    return f"; did you mean '{elsewhere}'?" if elsewhere else ""


def _part(
    name: str, cls: type[Spec], text: str, *, required: bool = False, honoured: frozenset[str] | None = None
) -> Field:
    fields = _fields(cls, name, honoured)
    return Field(name, name, "object", required, text=text, fields=fields)


def _needs(cls: type[Spec]) -> bool:
    return any(field.required for field in msgspec.structs.fields(cls))


def _fields(cls: type, path: str, honoured: frozenset[str] | None = None) -> tuple[Field, ...]:
    texts = _texts(cls)
    info = type_info(cls)
    assert isinstance(info, mi.StructType)
    return tuple(
        _field(
            field,
            f"{path}.{field.encode_name}" if path else field.encode_name,
            texts.get(field.name, ""),
            without_effect=honoured is not None and field.name not in honoured,
        )
        for field in info.fields
    )


def _field(field: mi.Field, path: str, text: str, *, without_effect: bool) -> Field:
    item = _item(field.type)
    within = _fields(item.cls, path) if isinstance(item, mi.StructType) else ()
    default = _DEFAULT.search(text)
    return Field(
        name=field.encode_name,
        path=path,
        type=_type(field.type),
        required=field.required,
        allowed=_allowed(field.type),
        default=default["words"] if default else _rendered_default(field),
        text=_DEFAULT.sub("", text).strip(),
        without_effect=without_effect,
        fields=tuple(each._replace(without_effect=without_effect) for each in within),
    )


def _item(info: mi.Type) -> mi.Type:
    """What a list or map holds; else the type itself."""
    match plain_type(info):
        case mi.VarTupleType(item_type=item) | mi.DictType(value_type=item):
            return _item(item)
        case plain:
            return plain


def _type(info: mi.Type) -> str:
    match plain_type(info):
        case mi.VarTupleType(item_type=item):
            return f"list of {_plural(_type(item))}"
        case mi.DictType(value_type=item):
            return f"map of names to {_plural(_type(item))}"
        case mi.StructType():
            return "object"
        case mi.BoolType():
            return "boolean"
        case mi.IntType():
            return "whole number"
        case mi.FloatType():
            return "number"
        case mi.LiteralType(values=values):
            return "text" if isinstance(values[0], str) else "whole number"
        case mi.CustomType(cls=cls):
            return _WORDS.get(cls.__name__, cls.__name__.lower())
        case mi.StrType():
            return "text"
    return "anything"


def _plural(words: str) -> str:
    return words + ("es" if words.endswith(("s", "x")) else "" if words == "anything" else "s")


def _allowed(info: mi.Type) -> str:
    """What the validator says is allowed; empty when the type has said it."""
    plain = plain_type(info)
    match plain:
        case mi.VarTupleType(item_type=item):
            most = f"at most {plain.max_length} items" if plain.max_length is not None else ""
            each = _allowed(item)
            return "; each ".join(filter(None, [most, each])) if most else each
        case mi.DictType() | mi.StructType() | mi.AnyType() | mi.BoolType():
            return ""
        case mi.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values if value != "")
    sentence = allowed(info)
    words = sentence.removeprefix("must be ")
    if isinstance(plain, mi.IntType):
        if plain.ge is not None and plain.ge < 0 and plain.le == -1 - plain.ge:
            return ""  # whatever fits into the number that Calico's programs have for it
        return words.removeprefix("a whole number").removeprefix(" from").removeprefix(" of").strip()
    # A sentence that does not say what a value must be is that of a single field, whose text says the same.
    return "" if words in (sentence, "text", "a number") else words


def _rendered_default(field: mi.Field) -> str:
    """A default that says something, as a document writes it."""
    if field.required:
        return ""
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if not value or isinstance(value, msgspec.Struct):
        return ""
    plain = plain_type(field.type)
    if isinstance(plain, mi.CustomType):
        value = plain.cls.to_json(value)  # type: ignore[attr-defined]  # see codec: every class of ours has it
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(map(str, value))
    return str(value)


@cache
def _texts(cls: type) -> Mapping[str, str]:
    """What stands below the fields of a struct in its source and in that of its bases, in one line each."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not Spec and issubclass(base, Spec):
            texts |= _texts_in(base.__module__).get(base.__name__, {})
    return texts


@cache
def _texts_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """The same for all classes of a module. Without its source, as in some frozen installations, there are none."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return {}
    return {node.name: dict(_documented(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _documented(body: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    for statement, after in pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, _joined(inspect.cleandoc(text).splitlines())


def _first_sentence(text: str) -> str:
    found = _SENTENCE.match(text)
    return found[0] if found else text


def _joined(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines).strip()
