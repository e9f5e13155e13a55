"""Everything that is wrong with the shape of a document: the slow walk behind the fast decoder.

msgspec stops at the first fault and speaks of Python types. This walk finds every fault - unknown, missing and
mistyped fields, values out of range - and words each for the user. It follows the same type information, so
what it finds in order, msgspec can decode. It is stricter in one thing: it also holds values against what only
Calico's writers refuse (`schema.written`), so a user's document is judged by this walk and a stored one by msgspec.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec.inspect as mi

from tortie.errors import Problem, Sort
from tortie.model.names import suggestion

UNKNOWN_FIELD = "unknown field"
_SHOWN_CHARACTERS = 80

# The fields of a stored document: see `_shape`.
_Shape = Mapping[str, Any] | None

_NOTHING = object()  # of no JSON type, so that only a field of any type takes it

type_info = functools.cache(mi.type_info)
_PLAIN_TYPES: dict[int, tuple[mi.Type, mi.Type]] = {}


def faults(part: object, cls: type, path: str, stored: object = None) -> Iterator[Problem]:
    """The faults of a part of a document that should be a `cls`, and is found at `path`.

    A field that `cls` does not know is no fault where `stored` has it at the same path: somebody with a newer
    model wrote it. In a list it may stand in any element, since elements move.
    """
    return _faults(part, type_info(cls), path, _shape(stored, type_info(cls)))


def is_faultless(part: object, cls: type) -> bool:
    """Whether a part of a document that the decoder takes for a `cls` has none of the faults that only the walk finds.

    For a document in order, as most are, in a fifth of the walk's time.
    """
    test = _test_of_class(cls)
    return test is None or test(part)


_Test = Callable[[Any], bool]


@functools.cache
def _test_of_class(cls: type) -> _Test | None:
    return _test(type_info(cls))


def _test(info: mi.Type) -> _Test | None:
    """What is to be asked of a value that the decoder takes; None for nothing."""
    match info:
        case mi.Metadata(type=inner, extra_json_schema=schema):
            return _pattern_test((schema or {}).get("pattern", ""), _test(inner))
        case mi.UnionType(types=types):
            tests = [_test(each) for each in types if not isinstance(each, mi.NoneType)]
            return _optional_test(tests[0]) if len(tests) == 1 else _left_to_the_walk if any(tests) else None
        case mi.StructType(fields=fields):
            return _struct_test({field.encode_name: _test(field.type) for field in fields})
        case mi.VarTupleType(item_type=item):
            return _every_test(_test(item), lambda value: value)
        case mi.DictType(value_type=item):
            return _every_test(_test(item), lambda value: value.values())
        case mi.IntType():
            return lambda value: type(value) is int  # the decoder takes 1.0 as well
    return None


def _pattern_test(pattern: str, inner: _Test | None) -> _Test | None:
    if not pattern:
        return inner
    search = re.compile(pattern).search

    def test(value: Any) -> bool:
        return (inner is None or inner(value)) and (not isinstance(value, str) or search(value) is not None)

    return test


def _optional_test(inner: _Test | None) -> _Test | None:
    return None if inner is None else lambda value: value is None or inner(value)


def _struct_test(tests: Mapping[str, _Test | None]) -> _Test:
    def test(value: Any) -> bool:
        for name, part in value.items():
            if name not in tests:
                return False
            inner = tests[name]
            if inner is not None and not inner(part):
                return False
        return True

    return test


def _every_test(inner: _Test | None, parts: Callable[[Any], Iterable[Any]]) -> _Test | None:
    return None if inner is None else lambda value: all(map(inner, parts(value)))


def _left_to_the_walk(_: Any) -> bool:
    return False


def without_faults(part: Any, cls: type) -> Any:
    """A part of a document without its faulty values; in place of a word that must be there stands another.

    Elements of a list keep their places. A list whose faults cannot be taken out is left out whole.
    """
    return _without_faults(part, type_info(cls))


def _without_faults(value: Any, info: mi.Type) -> Any:
    match plain_type(info):
        case mi.StructType(fields=fields) if isinstance(value, Mapping):
            known = {field.encode_name: field for field in fields}
            sound = {}
            for name in value.keys() & known.keys():
                part = _without_faults(value[name], known[name].type)
                if not any(_faults(part, known[name].type, "", None)):
                    sound[name] = part
                elif known[name].required and isinstance(word := plain_type(known[name].type), mi.LiteralType):
                    sound[name] = word.values[0]
            return sound
        case mi.VarTupleType(item_type=item) if isinstance(value, list):
            return [_without_faults(part, item) for part in value]
    return value


def without_unknown(part: Any, cls: type) -> Any:
    """A part of a document without the fields that `cls` does not know."""
    return _without_unknown(part, type_info(cls))


def _without_unknown(value: Any, info: mi.Type) -> Any:
    match plain_type(info):
        case mi.StructType(fields=fields) if isinstance(value, Mapping):
            known = {field.encode_name: field.type for field in fields}
            return {name: _without_unknown(part, known[name]) for name, part in value.items() if name in known}
        case mi.VarTupleType(item_type=item) if isinstance(value, list):
            return [_without_unknown(part, item) for part in value]
        case mi.DictType(value_type=item) if isinstance(value, Mapping):
            return {name: _without_unknown(part, item) for name, part in value.items()}
    return value


def _shape(part: object, info: mi.Type) -> dict[str, Any]:
    """The fields of a document and of the objects in it, as nested mappings: a list has those of all its elements."""
    shape: dict[str, Any] = {}
    match plain_type(info):
        case mi.StructType(fields=fields) if isinstance(part, Mapping):
            types = {field.encode_name: field.type for field in fields}
            shape = {name: _shape(inner, types[name]) if name in types else {} for name, inner in part.items()}
        case mi.VarTupleType(item_type=item) if isinstance(part, list):
            for inner in part:
                shape = _united(shape, _shape(inner, item))
    return shape


def _united(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return one | {name: _united(one.get(name, {}), inner) for name, inner in other.items()}


def allowed(info: mi.Type) -> str:
    """What a field may hold, in the words of the error for what it may not: "must be a whole number from 1 to 9"."""
    return next((fault.reason for fault in _faults(_NOTHING, info, "", None)), "")


def _faults(value: object, info: mi.Type, path: str, stored: _Shape) -> Iterator[Problem]:
    match info:
        case mi.Metadata(type=inner, extra_json_schema=schema):
            yield from _annotated_faults(value, inner, schema or {}, path, stored)
        case mi.UnionType(types=types):
            yield from _union_faults(value, types, path, stored)
        case mi.StructType():
            yield from _struct_faults(value, info, path, stored)
        case mi.VarTupleType():
            yield from _list_faults(value, info, path, stored)
        case mi.DictType(value_type=item):
            yield from _map_faults(value, item, path)
        case mi.CustomType(cls=cls):
            try:
                cls.from_json(value)  # type: ignore[attr-defined]  # see codec: every class of ours has it
            except ValueError as error:
                refused = getattr(cls, "decoder_refuses", False) or not isinstance(value, str)
                yield Problem(path, shown(value), str(error), Sort.TYPE if refused else Sort.RULE)
        case _:
            if allowed := _scalar_fault(value, info):
                yield Problem(path, shown(value), allowed, Sort.RULE if _has_type(value, info) else Sort.TYPE)


def _annotated_faults(
    value: object, info: mi.Type, schema: Mapping[str, Any], path: str, stored: _Shape
) -> Iterator[Problem]:
    words = schema.get("description", "")
    found = list(_faults(value, info, path, stored))
    yield from (fault._replace(reason=words) if words else fault for fault in found)
    if not found and isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield Problem(path, shown(value), words)


def _struct_faults(value: object, info: mi.StructType, path: str, stored: _Shape) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(path, kind_of(value), "must be an object with fields", Sort.TYPE)
        return
    kept = stored or {}
    known = {field.encode_name: field for field in info.fields}
    for name, part in value.items():
        if name in known:
            yield from _faults(part, known[name].type, join(path, name), kept.get(name))
        elif name not in kept:
            yield Problem(join(path, name), "", UNKNOWN_FIELD + suggestion(name, known), Sort.UNKNOWN_FIELD)
    for name, field in known.items():
        if field.required and name not in value:
            yield Problem(join(path, name), "", "is required")


def _list_faults(value: object, info: mi.VarTupleType, path: str, stored: _Shape) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(path, kind_of(value), "must be a list", Sort.TYPE)
        return
    if info.max_length is not None and len(value) > info.max_length:
        yield Problem(path, f"{len(value)} items", f"must have at most {info.max_length} items")
    for index, part in enumerate(value):
        yield from _faults(part, info.item_type, f"{path}[{index}]", stored)


def _map_faults(value: object, item: mi.Type, path: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(path, kind_of(value), "must be an object with fields", Sort.TYPE)
        return
    for name, part in value.items():
        yield from _faults(part, item, join(path, name), None)


def _union_faults(value: object, types: tuple[mi.Type, ...], path: str, stored: _Shape) -> Iterator[Problem]:
    if value is None and any(isinstance(info, mi.NoneType) for info in types):
        return
    attempts = [list(_faults(value, info, path, stored)) for info in types if not isinstance(info, mi.NoneType)]
    if all(attempts):
        first = attempts[0]
        yield from first if len(attempts) == 1 else [_any_of(attempts)]


def _any_of(attempts: list[list[Problem]]) -> Problem:
    reasons = " or ".join(found[0].reason.removeprefix("must be ") for found in attempts)
    readable = any(found[0].sort is Sort.RULE for found in attempts)
    return attempts[0][0]._replace(reason=f"must be {reasons}", sort=Sort.RULE if readable else Sort.TYPE)


def _has_type(value: object, info: mi.Type) -> bool:
    """Whether the value is of the JSON type that its field has; it may still be out of range."""
    match info:
        case mi.StrType():
            return isinstance(value, str)
        case mi.IntType():
            return type(value) is int
        case mi.LiteralType(values=values):
            return type(value) is type(values[0])
    return False


def _scalar_fault(value: object, info: mi.Type) -> str:
    """What is allowed, if the value is not; empty if it is."""
    match info:
        case mi.StrType():
            if not isinstance(value, str):
                return "must be text; put it in quotes" if isinstance(value, int | float) else "must be text"
            return _text_fault(value, info)
        case mi.BoolType():
            return "" if isinstance(value, bool) else f"must be true or false{_unquoted(value)}"
        case mi.IntType(ge=lowest, le=highest):
            fits = type(value) is int and (lowest is None or value >= lowest) and (highest is None or value <= highest)
            return "" if fits else f"must be a whole number{_range(lowest, highest)}{_unquoted(value)}"
        case mi.FloatType():
            return "" if type(value) in (int, float) else "must be a number"
        case mi.LiteralType(values=values):
            fits = any(type(value) is type(allowed) and value == allowed for allowed in values)
            return "" if fits else f"must be one of {', '.join(str(each) for each in values if each != '')}"
        case mi.AnyType():
            return ""
    raise NotImplementedError(f"field type {info}")


def plain_type(info: mi.Type) -> mi.Type:
    """The type without its constraints and without "or None"; of several that remain, any."""
    # Asked for every value of every document. The type is kept too, or another could get its number.
    known = _PLAIN_TYPES.get(id(info))
    if known is None:
        known = _PLAIN_TYPES[id(info)] = (info, _plain_type(info))
    return known[1]


def _plain_type(info: mi.Type) -> mi.Type:
    if isinstance(info, mi.Metadata):
        return plain_type(info.type)
    if isinstance(info, mi.UnionType):
        present = [each for each in info.types if not isinstance(each, mi.NoneType)]
        return plain_type(present[0]) if len(present) == 1 else mi.AnyType()
    return info


def _text_fault(value: str, info: mi.StrType) -> str:
    if info.max_length is not None and len(value) > info.max_length:
        return f"must be at most {info.max_length} characters"
    if info.pattern is not None and not re.search(info.pattern, value):
        return f"must match {info.pattern}"
    return ""


def _unquoted(value: object) -> str:
    return ", without quotes" if isinstance(value, str) and re.fullmatch("-?[0-9]+|true|false", value) else ""


def _range(lowest: int | None, highest: int | None) -> str:
    if lowest is None and highest is None:
        return ""
    return f" from {lowest} to {highest}" if highest is not None else f" of at least {lowest}"


def join(path: str, name: str) -> str:
    """The path of a field of the object at `path`; an empty name shows as "", so that a path is never nothing."""
    shown_name = name or '""'
    return f"{path}.{shown_name}" if path else shown_name


def shown(value: object) -> str:
    """A value as an error quotes it: one that is neither object nor list, and not too long."""
    if isinstance(value, str) and value:
        return value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "..."
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float) else kind_of(value)


def kind_of(value: object) -> str:
    """What a value is, without telling it: where an object was wanted it may be a password."""
    match value:
        case "":
            return "an empty text"
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case Mapping():
            return "an object"
    return "null"
