"""What names, labels and annotations may look like, and the names that are computed.

The name of a workload endpoint is its identity: four parts joined by `-`, each with its own dashes doubled. The
host end of an attached workload is named by a hash, since an interface name holds 15 characters.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tortie.errors import Problem

# The label by which everybody knows the namespace of an object; writers put it on endpoints, readers on network sets.
NAMESPACE_LABEL = "projectcalico.org/namespace"

# Patterns end in \Z: $ would also match before a final line feed. Those that each endpoint meets have no group for each
# dash, which is what takes time in `re`; they look back at what stands before a dot and at the end instead. And where
# there is no dot, they do not enter the group for it.
DNS_LABEL = r"[a-z0-9]+(?:-+[a-z0-9]+)*"
SUBDOMAIN = r"^(?!-)[-a-z0-9]+(?:\Z|(?:\.(?<!-\.)[a-z0-9][-a-z0-9]*)+\Z)(?<!-)"
SUBDOMAIN_WORDS = "lower-case letters, digits, - and ., beginning and ending with a letter or digit"
MAX_NAME_LENGTH = 253
MAX_LABEL_PART_LENGTH = 63
MAX_ANNOTATIONS_BYTES = 256 * 1024

_SUBDOMAIN = re.compile(SUBDOMAIN)
_LABEL_PART = re.compile(r"(?![-_.])[-A-Za-z0-9_.]+(?<![-_.])")
_LABEL_PART_WORDS = "at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit"

# Labels that were judged and are right: most of an object's say what it has in common with others.
_sound_labels: set[tuple[str, str]] = set()
_MAX_SOUND_LABELS = 4096


def name_fault(name: str) -> str:
    """Why this cannot name an object (a DNS-1123 subdomain of at most 253 characters); empty when it can."""
    if len(name) > MAX_NAME_LENGTH:
        return f"must be at most {MAX_NAME_LENGTH} characters"
    if not _SUBDOMAIN.match(name):
        return f"must be {SUBDOMAIN_WORDS}"
    return ""


def label_problems(labels: Mapping[str, str]) -> list[Problem]:
    """Kubernetes' rules for labels: a qualified name as key, a value of the same characters or none."""
    if labels.items() <= _sound_labels:  # as they are on nearly every endpoint, and without a step of Python for each
        return []
    return [problem for label in labels.items() if label not in _sound_labels for problem in _label_problems(*label)]


def _label_problems(key: str, value: str) -> list[Problem]:
    problems = []
    if fault := _key_fault(key):
        problems.append(Problem(f"metadata.labels.{key}", key, fault))
    if value and not _is_label_part(value):
        problems.append(Problem(f"metadata.labels.{key}", value, f"the value must be {_LABEL_PART_WORDS}, or empty"))
    if not problems:
        if len(_sound_labels) >= _MAX_SOUND_LABELS:
            _sound_labels.clear()  # what many objects have is back at once
        _sound_labels.add((key, value))
    return problems


def annotation_problems(annotations: Mapping[str, str]) -> Iterator[Problem]:
    """Keys as those of labels, but in any case; any text as value, 256 KiB in all."""
    for key in annotations:
        if fault := _key_fault(key.lower()):
            yield Problem(f"metadata.annotations.{key}", key, fault)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS_BYTES:
        reason = f"all annotations together must not exceed {MAX_ANNOTATIONS_BYTES} bytes"
        yield Problem("metadata.annotations", f"{size} bytes", reason)


# The same few keys stand on every endpoint.
@functools.lru_cache(maxsize=4096)
def _key_fault(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and name_fault(prefix):
        return f"the part before / must be a DNS name of {SUBDOMAIN_WORDS}"
    if not _is_label_part(name):
        return f"the key must be {_LABEL_PART_WORDS}, after an optional DNS name and /"
    return ""


def _is_label_part(text: str) -> bool:
    return len(text) <= MAX_LABEL_PART_LENGTH and _LABEL_PART.fullmatch(text) is not None


class EndpointName(NamedTuple):
    """The four parts of a workload endpoint's name, with single dashes.

    Status keys and Felix call `workload` of namespace N the workload `N/workload`.
    """

    node: str
    orchestrator: str
    workload: str
    endpoint: str

    def __str__(self) -> str:
        return join_endpoint_name(*self)

    @property
    def fault(self) -> str:
        """Why these parts make no name; empty when they do."""
        for place, part in enumerate(self):
            if not part:
                return f"{self._fields[place]} is missing"
            if part[0] == "-" or part[-1] == "-":
                return f"{self._fields[place]} '{part}' must not begin or end with -"
        return ""


def join_endpoint_name(*parts: str) -> str:
    """The text of a workload endpoint's name, of the four parts of `EndpointName`."""
    return "/".join(parts).replace("-", "--").replace("/", "-")  # no part holds a slash


def parse_endpoint_name(text: str) -> EndpointName | None:
    """The parts of a workload endpoint's name; None when the text is not exactly what four parts are joined to."""
    parts: list[str] = []
    start = 0
    for dash in re.finditer("--|-", text):
        if dash[0] == "-":
            parts.append(text[start : dash.start()])
            start = dash.end()
    parts.append(text[start:])
    if len(parts) != len(EndpointName._fields):
        return None
    name = EndpointName(*(part.replace("--", "-") for part in parts))
    return name if not name.fault and str(name) == text else None


def host_interface_name(namespace: str, workload: str, endpoint: str) -> str:
    """The host end of an attached workload's veth: `cali` and 11 hex digits, as many as 15 characters hold."""
    import hashlib  # not what each command should wait for

    identity = f"{namespace}.{workload}.{endpoint}"
    return "cali" + hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest()[:11]


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something known resembles the word, else nothing."""
    import difflib  # not what each command should wait for

    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""
