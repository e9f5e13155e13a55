"""What the cluster is: the resources of `projectcalico.org/v3` as frozen values beside their documents.

    bytes of the store ──from_store──▶ Resource ──to_store──▶ bytes of the store
    a user's document  ──from_user───▶ Resource     (or, from the store, Quarantined)
    code               ──new, with_spec──▶ Resource

How the folder is cut:

* `resource` the values; `kind` what describes a kind; `kinds/` one file per kind, found by being there;
* `schema`, `codec`, `scalars`, `addresses`, `community`, `rule`, `policy`, `networks`, `condition`, `secret`, `felix/`
  what specs are made of; `selector/` the language;
* `decode`, `encode` the ways in and out; below them `document` (plain JSON), `understood` (what Go's decoder takes a
  value for), `check` and `judge` (all faults of a document), `write` (typed values onto a document);
* `names` what may be called how; `keys` where things are stored;
* `allocation` what IPAM keeps, which are no resources.

Invariants: a value is never changed; a field that the model does not know is never lost; a stored object that
breaks the rules is reported by name and never raises; nothing here reads a clock, a file or randomness.
"""

from __future__ import annotations

from tortie.model.decode import from_store, from_user, identify, unknown_fields
from tortie.model.encode import new, stamped, to_store, with_labels, with_spec
from tortie.model.kinds import KINDS, kind_named
from tortie.model.resource import API_VERSION, Metadata, Quarantined, Resource, ResourceKey
from tortie.model.selector import Selector, SelectorError

__all__ = [
    "API_VERSION",
    "KINDS",
    "Metadata",
    "Quarantined",
    "Resource",
    "ResourceKey",
    "Selector",
    "SelectorError",
    "from_store",
    "from_user",
    "identify",
    "kind_named",
    "new",
    "stamped",
    "to_store",
    "unknown_fields",
    "with_labels",
    "with_spec",
]
