"""What a store holds, read by kind. Of a kind that this tortie does not know there is only the key.

What is to be read of an object is read from its document, since a broken object has no typed value, and since a check
should not depend on which kinds there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from tortie.datastore.api import Datastore, Item
from tortie.datastore.transfer.content import PREFIXES
from tortie.errors import InvalidResource, Problem
from tortie.model import allocation, keys
from tortie.model.allocation import Affinity, Block, Handle, IpamConfig
from tortie.model.decode import from_store
from tortie.model.keys import AffinityKey, BlockKey, HandleKey
from tortie.model.kinds import KINDS
from tortie.model.resource import Quarantined, Resource, ResourceKey

# Below these are statuses and the like, which other programs write for each other.
_OF_OTHERS = ("/calico/felix/", "/calico/dhcp/", "/calico/openstack/", "/calico/compaction/", "/tortie/v1/")


@dataclass
class Facts:
    """Everything, by what it is."""

    resources: dict[ResourceKey, Resource[Any] | Quarantined] = field(default_factory=dict)
    blocks: dict[BlockKey, Block] = field(default_factory=dict)
    affinities: dict[AffinityKey, Affinity] = field(default_factory=dict)
    handles: dict[HandleKey, Handle] = field(default_factory=dict)
    ipam_config: IpamConfig | None = None
    broken: dict[str, tuple[Problem, ...]] = field(default_factory=dict)  # by key, of what is no resource
    tortie_keys: set[str] = field(default_factory=set)
    not_understood: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> Iterator[tuple[ResourceKey, Mapping[str, Any]]]:
        """The keys and specs of a kind's objects, also of broken ones."""
        for key, resource in self.resources.items():
            if key.kind == kind:
                yield key, mapping((resource.document or {}).get("spec"))

    def exists(self, key: ResourceKey) -> bool:
        """Whether there is such an object, stored or in every cluster."""
        if key in self.resources:
            return True
        kind = KINDS.get(key.kind)
        return kind is not None and (
            key.name in kind.undeletable or any(resource.key == key for resource in kind.built_in)
        )

    def take(self, item: Item) -> None:
        """Reads one key."""
        if key := keys.from_path(item.key):
            self.resources[key] = from_store(key, item.value, item.revision)
            return
        place = keys.allocation_from_path(item.key)
        try:
            match place:
                case BlockKey():
                    self.blocks[place] = allocation.from_store(Block, item.value).value
                case AffinityKey():
                    self.affinities[place] = allocation.from_store(Affinity, item.value).value
                case HandleKey():
                    self.handles[place] = allocation.from_store(Handle, item.value).value
                case None:
                    self._take_other(item)
        except InvalidResource as error:
            self.broken[item.key] = error.problems

    def _take_other(self, item: Item) -> None:
        if item.key == keys.IPAM_CONFIG:
            self.ipam_config = allocation.from_store(IpamConfig, item.value).value
        elif item.key.startswith("/tortie/v1/"):
            self.tortie_keys.add(item.key)
        elif not item.key.startswith(_OF_OTHERS):
            self.not_understood.append(item.key)


async def read(datastore: Datastore) -> Facts:
    """Reads all of a store."""
    facts = Facts()
    for prefix in PREFIXES:
        async with aclosing(datastore.pages(prefix)) as pages:
            async for page in pages:
                for item in page.items:
                    facts.take(item)
    return facts


def mapping(value: object) -> Mapping[str, Any]:
    """An object of a document, empty if it is something else."""
    return value if isinstance(value, Mapping) else {}


def texts(value: object) -> list[tuple[int, str]]:
    """The texts in a list of a document, with their places."""
    items = value if isinstance(value, list) else []
    return [(place, item) for place, item in enumerate(items) if isinstance(item, str)]


def text(value: object) -> str:
    """A text of a document, empty if it is something else."""
    return value if isinstance(value, str) else ""
