"""Profile: labels that endpoints inherit, and rules for endpoints that no policy selects."""

from __future__ import annotations

from collections.abc import Iterator

from tortie.errors import Problem
from tortie.model.kind import NAME, Kind, column
from tortie.model.names import label_problems
from tortie.model.resource import API_VERSION, Metadata, Resource, ResourceKey
from tortie.model.rule import Rule, Rules, rule_problems
from tortie.model.schema import Spec

DEFAULT_ALLOW_NAME = "projectcalico-default-allow"


class ProfileSpec(Spec, frozen=True, kw_only=True):
    """Labels and rules for every endpoint that lists the profile. The rules count where no policy decides.

    Source: api/pkg/apis/projectcalico/v3/profile.go
    """

    ingress: Rules = ()
    """Rules for packets to the endpoint, at most 1024. What none matches goes on to the next profile, and is denied
    after the last one."""

    egress: Rules = ()
    """Rules for packets from the endpoint, at most 1024; as ingress."""

    labels_to_apply: dict[str, str] = {}
    """Labels that every endpoint inherits that lists the profile. Its own win, then those of the profile listed
    first."""


# Exists in every cluster without being stored, so that an endpoint can be opened without any object.
DEFAULT_ALLOW = Resource(
    key=ResourceKey("Profile", "", DEFAULT_ALLOW_NAME),
    metadata=Metadata(name=DEFAULT_ALLOW_NAME),
    spec=ProfileSpec(ingress=(Rule(action="Allow"),), egress=(Rule(action="Allow"),)),
    source={
        "kind": "Profile",
        "apiVersion": API_VERSION,
        "metadata": {"name": DEFAULT_ALLOW_NAME},
        "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
    },
    revision=1,
)


def rules(profile: Resource[ProfileSpec]) -> Iterator[Problem]:
    if profile.key.name == DEFAULT_ALLOW_NAME:
        yield Problem("metadata.name", DEFAULT_ALLOW_NAME, "is built in and cannot be stored")
    yield from rule_problems(profile.spec.ingress, "ingress")
    yield from rule_problems(profile.spec.egress, "egress")
    for problem in label_problems(profile.spec.labels_to_apply):
        yield problem._replace(path=problem.path.replace("metadata.labels", "spec.labelsToApply", 1))


def _labels(profile: Resource[ProfileSpec]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(profile.spec.labels_to_apply.items()))


KIND = Kind(
    name="Profile",
    plural="profiles",
    aliases=("profile", "pro", "pros"),
    spec=ProfileSpec,
    columns=(NAME,),
    wide=(NAME, column("LABELS", _labels)),
    built_in=(DEFAULT_ALLOW,),
    rules=rules,
)
