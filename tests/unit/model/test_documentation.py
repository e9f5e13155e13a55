"""Every struct of every kind says what it is, and every field what it means: users read it at the terminal."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import msgspec.inspect as mi
import pytest

from tortie.model import KINDS
from tortie.model.document import ObjectMeta
from tortie.model.schema import Spec


def structs(info: mi.Type) -> Iterator[type]:
    """All structs that a type is made of."""
    match info:
        case mi.StructType(cls=cls, fields=fields):
            yield cls
            for field in fields:
                yield from structs(field.type)
        case mi.Metadata(type=inner) | mi.VarTupleType(item_type=inner):
            yield from structs(inner)
        case mi.DictType(value_type=inner):
            yield from structs(inner)
        case mi.UnionType(types=types):
            for each in types:
                yield from structs(each)


def all_structs() -> set[type]:
    roots = [kind.spec for kind in KINDS.values()] + [kind.status for kind in KINDS.values() if kind.status]
    return {each for root in [*roots, ObjectMeta] for each in structs(mi.type_info(root))}


STRUCTS = sorted(all_structs(), key=lambda cls: (cls.__module__, cls.__qualname__))


@cache
def class_bodies(module: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


def documented_fields(cls: type) -> set[str]:
    """Fields followed by a text, in the class and those that it is made from."""
    found = set()
    for base in cls.__mro__[: cls.__mro__.index(Spec)]:
        body = class_bodies(base.__module__)[base.__name__]
        for statement, after in pairwise(body):
            match statement, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))) if text:
                    assert after.lineno == (statement.end_lineno or 0) + 1, f"{cls.__name__}.{name}"
                    found.add(name)
    return found


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_every_struct_and_field_is_documented(cls: type[Spec]) -> None:
    assert cls.__doc__
    assert set(cls.__struct_fields__) - documented_fields(cls) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_names_its_source(kind: str) -> None:
    last = inspect.cleandoc(KINDS[kind].spec.__doc__ or "").splitlines()[-1]
    assert last.startswith("Source: ")
    assert last.endswith(".go")
