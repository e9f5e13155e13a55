"""The file of calicoctl's `datastore migrate`, written and read, and the names of policies before v3.32.

The file has three parts with a line `===` between: YAML lists of resources, ClusterInformation as JSON, and IPAM's
keys as JSON. calicoctl makes it to move a cluster to Kubernetes, where nodes have the names that Kubernetes gives
them; here nodes keep their names. What is imported goes into an empty store of tortie's.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from tortie.access import Access
from tortie.cli import bulk, documents, output
from tortie.cli.calicoctl import Failure
from tortie.cli.cluster_version import check_version
from tortie.cli.documents import Document, NothingGiven
from tortie.cli.judge import judge
from tortie.cli.namespaces import Namespaces
from tortie.cli.store import opened_store
from tortie.cli.wording import sentence
from tortie.datastore.api import Compare, Datastore, Put
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.datastore.policy_names import rename
from tortie.datastore.resources import KUBERNETES_POLICY, Resources
from tortie.errors import InvalidResource
from tortie.model import keys
from tortie.model.keys import AffinityKey, BlockKey, HandleKey
from tortie.model.kinds import KINDS
from tortie.model.kinds.clusterinformation import ClusterInformationSpec
from tortie.model.kinds.node import NodeSpec
from tortie.model.resource import Quarantined, Resource
from tortie.model.schema import convert

# In calicoctl's order.
EXPORTED = (
    "IPPool",
    "BGPPeer",
    "Tier",
    "GlobalNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "KubeControllersConfiguration",
    "NetworkPolicy",
    "StagedNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "NetworkSet",
    "Node",
    "BGPConfiguration",
    "FelixConfiguration",
    "IPReservation",
    "BGPFilter",
)
# Others are refused without them, wherever they stand in the file.
_FIRST = ("Tier", "BGPFilter")
_SEPARATOR = "===\n"
_IDENTITY = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_IPAM = (("block_affinities", AffinityKey), ("blocks", BlockKey), ("handles", HandleKey))


async def export(access: Access) -> str:
    """The file, of a store that is locked."""
    async with opened_store(access) as datastore:
        resources = Resources(datastore)
        await check_version(resources)
        information = await resources.get(CLUSTER_INFORMATION)
        if information.spec.datastore_ready is not False:
            command = "`tortie datastore migrate lock`"
            raise Failure(f"datastore is not locked. Run the {command} command in order to begin migration")
        lists = [await _list(resources, kind) for kind in EXPORTED if kind in KINDS]
        cluster = output.as_document("json", output.document(information))
        ipam = json.dumps(await _ipam(datastore), indent=2)
        return f"{''.join(lists)}{_SEPARATOR}{cluster}\n{_SEPARATOR}{ipam}\n"


async def import_from(access: Access, data: bytes, name: str) -> None:
    """Fills the store, which must be empty; it stays locked. Says on stdout how far it is."""
    try:
        resources_part, cluster_part, ipam_part = data.decode().split(_SEPARATOR)
        spec = convert(json.loads(cluster_part)["spec"], ClusterInformationSpec)
        ipam = list(_puts(json.loads(ipam_part)))
    except (ValueError, LookupError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise Failure(
            f"error while reading migration file: imported file: {name} is improperly formatted. "
            "Try recreating with 'tortie datastore migrate export'"
        ) from error
    given = _documents(resources_part)
    async with opened_store(access, create=True) as datastore:
        await _refuse_unless_empty(datastore)
        judged = await judge(given, Namespaces("", every=False), None)
        if errors := [*judged.unreadable, *judged.wrong]:
            raise Failure(f"failed to import v3 resources: [{' '.join(errors)}]")
        resources = Resources(datastore)
        await resources.begin(
            ClusterInformationSpec(
                cluster_guid=spec.cluster_guid, calico_version=spec.calico_version, datastore_ready=False
            )
        )
        await resources.ensure_initialised(spec.cluster_guid)
        done, failures = await bulk.each(judged.resources, resources.apply, f"Writing to {access.url}")
        if failures:
            raise Failure(f"failed to import v3 resources: hit error(s): [{' '.join(map(sentence, failures))}]")
        click.echo(f"Successfully applied {done} resource(s)")
        click.echo("Importing IPAM resources")
        for put in ipam:
            if not (await datastore.txn([Compare(put.key, 0)], [put])).succeeded:
                raise Failure(f"hit error(s): [resource already exists: {put.key} with error: <nil>]")
        click.echo(f"Successfully applied {len(ipam)} IPAM resource(s)")
    click.echo(
        "Datastore information successfully imported. Please refer to the datastore migration documentation for next "
        "steps."
    )


async def rename_policies(access: Access) -> int:
    """How many were stored under another name."""
    async with opened_store(access) as datastore:
        await check_version(Resources(datastore))
        return await rename(datastore)


async def _list(resources: Resources, kind: str) -> str:
    found = await resources.list(kind)
    items: list[Resource[Any]] = []
    for stored in found.items:
        if isinstance(stored, Quarantined):
            raise Failure(f"{sentence(InvalidResource(str(stored.key), stored.problems))}: repair {stored.key} first")
        if kind == "NetworkPolicy" and stored.key.name.startswith(KUBERNETES_POLICY):
            continue
        if isinstance(stored.spec, NodeSpec):
            _refuse_other_name(stored.key.name, stored.spec)
        items.append(stored)
    document = output.list_document(KINDS[kind], items, found.revision)
    for item in document["items"]:
        for field in _IDENTITY:
            item["metadata"].pop(field, None)
    return output.as_document("yaml", document) + "---\n"


def _refuse_other_name(name: str, spec: NodeSpec) -> None:
    for reference in spec.orch_refs:
        if reference.orchestrator == "k8s" and reference.node_name != name:
            raise Failure(
                f"node {name} is called {reference.node_name} in Kubernetes, and tortie gives no node another name: "
                "let calicoctl write this export"
            )


async def _ipam(datastore: Datastore) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for item in (await datastore.list(keys.IPAM)).items:
        place = keys.allocation_from_path(item.key)
        # Releases that knew no state of an affinity stored nothing.
        value = json.loads(item.value) if item.value else {"state": "confirmed", "deleted": False}
        for name, kind in _IPAM:
            if isinstance(place, kind):
                found.setdefault(name, []).append({"Key": item.key, "Value": value, "TTL": 0})
    parts: dict[str, Any] = {name: found[name] for name, _ in _IPAM if name in found}
    if config := await datastore.get(keys.IPAM_CONFIG):
        parts["config"] = {"Key": config.key, "Value": json.loads(config.value), "TTL": 0}
    return parts


def _puts(ipam: Mapping[str, Any]) -> Iterator[Put]:
    for name, kind in _IPAM:
        for pair in ipam.get(name) or []:
            if not isinstance(keys.allocation_from_path(pair["Key"]), kind):
                raise ValueError(f"{pair['Key']} is no key of {name}")
            yield Put(pair["Key"], json.dumps(pair["Value"], separators=(",", ":")).encode())
    if config := ipam.get("config"):
        yield Put(keys.IPAM_CONFIG, json.dumps(config["Value"], separators=(",", ":")).encode())


def _documents(text: str) -> Sequence[Document]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        with suppress(NothingGiven):
            given = documents.read(str(Path(file.name)))
            return sorted(given, key=lambda document: document.kind.name not in _FIRST)
    return []


async def _refuse_unless_empty(datastore: Datastore) -> None:
    for prefix in (keys.RESOURCES, keys.IPAM):
        for item in (await datastore.list(prefix)).items:
            key = keys.from_path(item.key)
            what = f"found existing Calico {key.kind} resource" if key else "found existing IPAM resources"
            raise Failure(f"datastore already has Calico resources: {what} ({item.key}): name an empty datastore")
