"""The rows of host endpoints: what is named comes before who names it, since they may go in several transactions."""

from __future__ import annotations

from tests.unit.intent.policy_text import chain, policy
from tortie.dataplane.hosts import Hosts
from tortie.dataplane.nftables.hosts import host_rows
from tortie.dataplane.nftables.match import NO_PREFIXES
from tortie.dataplane.nftables.policies import Policies
from tortie.dataplane.nftables.rows import ChainSpec, Rows
from tortie.intent.policy import BothWays, HostEndpointPolicy, PolicySettings
from tortie.model.resource import ResourceKey

WAYS = BothWays(ingress=chain("default=web"), egress=chain("default=web"))
ENDPOINT = HostEndpointPolicy(
    key=ResourceKey("HostEndpoint", "", "eth0"),
    interface="eth0",
    normal=WAYS,
    forward=WAYS,
    untracked=WAYS,
    pre_dnat=chain("default:pass=web"),
)
WEB = policy("web", ingress="Allow tcp destination=80\nDeny", egress="Deny udp\nAllow")


def chains(rows: Rows) -> dict[str, ChainSpec]:
    return {str(row.key): spec for row, spec in rows.items() if isinstance(spec, ChainSpec)}


def test_what_is_named_comes_first() -> None:
    policies = Policies(lambda *_: NO_PREFIXES)
    policies.put(WEB.key, WEB)
    rows = host_rows(Hosts({"eth0": ENDPOINT}, None), PolicySettings(), policies.ask)
    there: set[str] = set()
    found = chains(rows)
    for name, spec in found.items():
        text = b"".join(rule.expressions for rule in spec.rules)
        named = {other for other in found if other.encode() + b"\0" in text}
        assert named <= there, name
        there.add(name)
    assert "allow-untracked" in there


def test_without_host_endpoints_there_is_nothing() -> None:
    assert host_rows(Hosts({}, None), PolicySettings(), Policies(lambda *_: NO_PREFIXES).ask) == {}
