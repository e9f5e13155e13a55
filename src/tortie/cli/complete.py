"""What an unfinished word of the command line may become: kinds, their fields, names of stored objects.

Silent and quick: whatever goes wrong, and after half a second, there is no suggestion. A shell loads this at each
press of the tabulator, so that model and datastore are loaded only where they are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

PATIENCE_S = 0.5

_NAMESPACE = "namespace"


def complete_subject(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the arguments of a command that takes KIND and NAME, whatever it calls them: first a kind, then names."""
    words = _before(context, parameter)
    if parameter.name == "words" and len(words) > 1:  # one name, and then what is none
        return []
    return names(context, words[0], incomplete, words[1:]) if words else kinds(incomplete)


def kinds(incomplete: str) -> list[CompletionItem]:
    """The plural of each kind; of those that only an alias fits the alias."""
    from tortie.model.kinds import KINDS

    word = incomplete.lower()
    fitting = []
    for kind in KINDS.values():
        spellings = [kind.plural, *kind.aliases]
        found = next((each for each in spellings if each.startswith(word)), None)
        fitting += [CompletionItem(found, help=kind.name)] if found else []
    return fitting


def names(context: click.Context, kind: str, incomplete: str, given: Sequence[str] = ()) -> list[CompletionItem]:
    """The names of a kind's stored objects, but for those that the line has already."""
    import asyncio

    with suppress(Exception):  # a shell in the middle of a line is no place for errors
        found = asyncio.run(_stored(context, kind, incomplete))
        return [CompletionItem(name) for name in found if name not in given]
    return []


def complete_party(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A workload of the default namespace, or a node."""
    from tortie.model.names import parse_endpoint_name

    endpoints = (parse_endpoint_name(str(each.value)) for each in names(context, "workloadendpoint", ""))
    workloads = [CompletionItem(each.workload, help=f"on {each.node}") for each in endpoints if each is not None]
    nodes = [CompletionItem(each.value, help="a node") for each in names(context, "node", incomplete)]
    return [*(each for each in workloads if each.value.startswith(incomplete)), *nodes]


def complete_field(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A kind, or after a dot the path of one of its fields."""
    if "." not in incomplete:
        return kinds(incomplete)
    with suppress(Exception):
        from tortie.cli import fields
        from tortie.model.kinds import kind_named

        word, _, path = incomplete.partition(".")
        above, dot, begun = path.rpartition(".")
        field = fields.find(fields.of_kind(kind_named(word)), above)
        return [
            CompletionItem(f"{word}.{above}{dot}{each.name}", help=each.type)
            for each in field.fields
            if each.name.lower().startswith(begun.lower())
        ]
    return []


async def _stored(context: click.Context, kind: str, incomplete: str) -> list[str]:
    import asyncio

    from tortie.cli import configuration
    from tortie.cli.namespaces import Namespaces
    from tortie.cli.store import names_of
    from tortie.model.kinds import kind_named

    with context.scope(cleanup=False):
        access = configuration.load().settings.access
    wanted = kind_named(kind)
    namespaces = Namespaces(context.params.get(_NAMESPACE) or "", bool(context.params.get("all_namespaces")))
    async with asyncio.timeout(PATIENCE_S):
        return await names_of(access, wanted, namespaces.to_list(wanted), incomplete)


def _before(context: click.Context, parameter: click.Parameter) -> list[str]:
    """The words of the arguments up to the one that is being completed."""
    words: list[str] = []
    for each in context.command.params:
        if isinstance(each, click.Argument):
            value = context.params.get(each.name or "")
            if each is parameter and each.nargs != -1:
                break
            words += [value] if isinstance(value, str) else list(value or ())
            if each is parameter:
                break
    return words
