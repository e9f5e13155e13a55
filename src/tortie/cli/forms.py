"""The values of `-o`: each makes a text of an answer.

| value | text |
|---|---|
| ps, wide, custom-columns=A,B | tables: one, or one for each object that was named |
| yaml, yml, json | the document of `Answer` |
| go-template=T, go-template-file=F | the template with a list of objects, or of one typed list, as its value |
| jsonpath=T, jsonpath-file=F | the template with the document of `Answer` as its value |
| name | `kind/name` of each object, in a line of its own |

What a template needs is loaded only for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tortie.cli import output, terminal
from tortie.cli.answer import Answer
from tortie.cli.columns import columns_of, table
from tortie.errors import UsageError
from tortie.model.kind import Cluster
from tortie.model.kinds import KINDS

Printer = Callable[[Answer], str]

MAX_TEMPLATE_BYTES = 1 << 20


def printer(form: str) -> Printer:
    """The printer of a value of `-o`; raises UsageError, also for a template that cannot be read."""
    if form in output.DOCUMENT_FORMS:
        return lambda answer: output.as_document(form, answer.document())
    if form == "name":
        return _names
    if is_table(form):
        return partial(_tables, form)
    name, _, text = form.partition("=")
    match name:
        case "custom-columns":
            raise UsageError("need to specify at least one column")
        case "go-template":
            return _go_template(text or _missing("a template"))
        case "go-template-file":
            return _go_template(_read(text or _missing("a template file")))
        case "jsonpath":
            return _jsonpath(text or _missing("a template"))
        case "jsonpath-file":
            return _jsonpath(_read(text or _missing("a template file")))
    raise UsageError(f"unrecognized output format '{form}'")


def is_table(form: str) -> bool:
    """Whether the form is printed row by row."""
    name, _, text = form.partition("=")
    return form in ("ps", "wide") or (name == "custom-columns" and bool(text))


def _names(answer: Answer) -> str:
    return "".join(f"{resource.key.kind.lower()}/{resource.key.name}\n" for resource in answer.resources)


def _tables(form: str, answer: Answer) -> str:
    groups = [(KINDS[resource.key.kind], [resource]) for resource in answer.resources]
    if answer.kind is not None:
        groups = [(answer.kind, answer.resources)]
    tables = [
        table(columns_of(kind, form, namespaces=answer.namespaces), resources, answer.cluster)
        for kind, resources in groups
    ]
    return "".join(map(terminal.with_heading, tables))


def _go_template(text: str) -> Printer:
    from tortie.cli.go_structs import go_list, go_object
    from tortie.cli.gotemplate import Template

    template = Template(text, {"config"})

    def render(answer: Answer) -> str:
        root = [go_list(answer.document())] if answer.kind else [go_object(each) for each in answer.documents()]
        return template.render(root, {"config": partial(_config, answer.cluster)})

    return render


def _config(cluster: Cluster, name: object) -> str:
    if not isinstance(name, str) or name.lower() != "asnumber":
        raise ValueError('"asnumber" is the one value of the configuration')
    return str(cluster.as_number)


def _jsonpath(text: str) -> Printer:
    from tortie.cli.jsonpath import JsonPath

    path = JsonPath(text)
    return lambda answer: path.render(answer.document()) if answer.objects or answer.kind else ""


def _missing(what: str) -> str:
    raise UsageError(f"need to specify {what}")


def _read(file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_TEMPLATE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"open {file}: {error.strerror}") from error
    if len(content) > MAX_TEMPLATE_BYTES:
        raise UsageError(f"{file}: a template of more than {MAX_TEMPLATE_BYTES >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        place = f"byte {content[error.start]:#04x} at offset {error.start}"
        raise UsageError(f"{file}: is no UTF-8 text: {place}") from None
