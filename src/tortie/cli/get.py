"""`tortie get`: what the datastore holds, in all of calicoctl's forms, and as it changes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tortie.cli import calicoctl, configuration, forms, output
from tortie.cli.answer import Answer
from tortie.cli.calicoctl import Failure
from tortie.cli.complete import complete_subject
from tortie.cli.configuration import config_option
from tortie.cli.files import Files, file_options
from tortie.cli.finding import find_all, find_each
from tortie.cli.namespaces import Namespaces
from tortie.cli.store import answered
from tortie.cli.subjects import Subject, in_files, named
from tortie.errors import UsageError
from tortie.model.kind import Kind
from tortie.model.kinds import KINDS, kind_named
from tortie.model.selector import Selector


@click.command(cls=calicoctl.Command)
@click.argument("kind", required=False, shell_complete=complete_subject)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_subject)
@file_options
@click.option(
    "-o",
    "--output",
    "form",
    default="ps",
    metavar="FORM",
    help="ps, wide, yaml, json, name, custom-columns=A,B, go-template=T, go-template-file=F, jsonpath=T, "
    "jsonpath-file=F.",
)
@calicoctl.namespace_option
@click.option("-A", "-a", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@click.option("--selector", metavar="SELECTOR", help="Objects whose labels match: 'app == \"web\" && has(zone)'.")
@click.option("-w", "--watch", is_flag=True, help="Go on with each change, until interrupted.")
@click.option("--export", is_flag=True, help="Without what binds a named object to this datastore.")
@config_option
def get(
    kind: str | None,
    names: Sequence[str],
    files: Files,
    form: str,
    namespace: str | None,
    all_namespaces: bool,
    selector: str | None,
    watch: bool,
    export: bool,
) -> None:
    """Show objects: all of a kind, some by name, or those that files name.

    \b
    tortie get nodes -o wide
    tortie get workloadendpoints -A --selector 'app == "web"' -w
    tortie get ippool pool-a -o yaml --export > pool-a.yaml
    tortie get wep -o custom-columns=NAME,NODE,NETWORKS
    tortie get wep -o jsonpath='{range .items[*]}{.metadata.name}{"\\n"}{end}'
    tortie get node -o go-template='{{range .}}{{range .Items}}{{.Name}} {{end}}{{end}}'

    With -w a table goes on with a row for each change, YAML and JSON with the object, and a template is used on
    a list of the object alone. A deleted object is shown as it last was: its row ends in (deleted), its document
    has a metadata.deletionTimestamp.
    """
    namespaces = Namespaces(namespace or "", all_namespaces)
    namespaces.check()
    printer = forms.printer(form)
    of_all = kind is not None and files.filename is None and not names
    if selector is not None and not of_all:
        raise Failure("--selector needs a kind, and neither names nor files")
    if watch:
        # Only here: it is of no use to whoever looks once.
        from tortie.cli.watch import watch_all, watch_each

        if kind is None or files.filename is not None:
            raise Failure("--watch needs a kind, with names or without; files cannot be watched")
        if of_all:
            watch_all(configuration.access(), form, _kind(kind), namespaces, _selector(selector))
        else:
            watch_each(configuration.access(), form, _kind(kind), namespaces, _subjects(kind, names, files, namespaces))
    with _no_collector():
        if of_all and kind is not None:
            every = _kind(kind)
            found = answered(find_all(configuration.access(), every, namespaces.to_list(every), _selector(selector)))
            answer = Answer(found.objects, found.cluster, every, found.revision, namespaces=namespaces.named)
        else:
            subjects = _subjects(kind, names, files, namespaces)
            found = answered(find_each(configuration.access(), subjects, broken=form in output.DOCUMENT_FORMS))
            alone = files.filename is None and len(names) == 1
            export = bool(names) and export
            answer = Answer(found.objects, found.cluster, alone=alone, namespaces=namespaces.named, export=export)
        click.echo(printer(answer), nl=False)
    if found.errors:
        raise Failure("\n".join(found.errors))


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without the garbage collector, which doubles the time that a hundred thousand objects take, and finds nothing
    in a process that ends with its answer."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _kind(text: str) -> Kind[Any]:
    try:
        return kind_named(text)
    except UsageError as error:
        raise Failure(f"failed to get resources: {error}") from error


def _subjects(kind: str | None, names: Sequence[str], files: Files, namespaces: Namespaces) -> list[Subject]:
    if files.filename is not None:
        return in_files(files, namespaces)
    if kind is None:
        raise Failure(f"name what to get: KIND [NAME...], or files with -f. Kinds: {', '.join(KINDS)}")
    if namespaces.every:
        raise Failure("cannot use --all-namespace flag for getting a single resource")
    return named(_kind(kind), names, namespaces)


def _selector(text: str | None) -> Selector | None:
    try:
        return None if text is None else Selector.from_json(text)
    except ValueError as error:
        raise Failure(f"--selector {text}: {error}") from error
