"""Which policies apply to which endpoints, in which order, and that the way there does not matter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.calc.cluster import resource
from tortie.calc.policies import Chains, Endpoint, PolicyCalculator
from tortie.calc.sets import SetCalculator
from tortie.intent.policy import WHOLE_OBJECT, Action, Chain, Policy
from tortie.model import from_store
from tortie.model.kinds.profile import DEFAULT_ALLOW_NAME
from tortie.model.kinds.tier import TierSpec
from tortie.model.resource import Quarantined, Resource, ResourceKey
from tortie.model.scalars import Order

WEP = ResourceKey("WorkloadEndpoint", "ns", "w")
OTHER = ResourceKey("WorkloadEndpoint", "ns", "x")
HEP = ResourceKey("HostEndpoint", "", "h")

Value = Resource[Any] | Quarantined


def gnp(name: str, **spec: Any) -> Resource[Any]:
    return resource("GlobalNetworkPolicy", name, {"selector": "a == 'x'", **spec})


def profile_key(name: str) -> ResourceKey:
    return ResourceKey("Profile", "", name)


class Node:
    """A calculator, and everything that it has said."""

    def __init__(self) -> None:
        self.sets = SetCalculator()
        self.calculator = PolicyCalculator(self.sets)
        self.chains: dict[ResourceKey, Chains] = {}
        self.policies: dict[ResourceKey, Policy] = {}

    def put(self, key: ResourceKey, value: Any) -> None:
        calculator = self.calculator
        if key.kind in ("WorkloadEndpoint", "HostEndpoint"):
            calculator.drop_endpoint(key) if value is None else calculator.put_endpoint(key, value)
        elif key.kind == "Tier":
            calculator.put_tier(key.name, value)
        elif key.kind == "Profile":
            calculator.put_profile(key, None if value is None else value.spec)
        else:
            calculator.put_policy(key, value)

    def flush(self) -> None:
        changes = self.calculator.flush()
        _take(changes.policies, self.policies)
        _take(changes.endpoints, self.chains)

    def state(self) -> tuple[dict[ResourceKey, Chains], dict[ResourceKey, Policy]]:
        return dict(self.chains), dict(self.policies)


Said = TypeVar("Said", Chains, Policy)


def _take(news: Mapping[ResourceKey, Said | None], known: dict[ResourceKey, Said]) -> None:
    for key, value in news.items():
        if value is None:
            del known[key]
        else:
            assert known.get(key) != value, "it is no news"
            known[key] = value


def said(chain: Chain) -> str:
    tiers = [
        f"{tier.name}{':pass' if tier.default is Action.PASS else ''}={','.join(key.name for key in tier.policies)}"
        for tier in chain.tiers
    ]
    profiles = ",".join(key.name for key in chain.profiles)
    return " ".join(tiers) + (f" | {profiles}" if profiles else "")


def workload(labels: dict[str, str] | None = None, *profiles: str) -> Endpoint:
    return Endpoint({"a": "x"} if labels is None else labels, tuple(map(profile_key, profiles)))


def chains(
    *policies: Value,
    key: ResourceKey = WEP,
    endpoint: Endpoint | None = None,
    tiers: Mapping[str, TierSpec] | None = None,
) -> Chains:
    node = Node()
    for each in policies:
        node.put(each.key, each)
    for name, spec in (tiers or {}).items():
        node.calculator.put_tier(name, spec)
    node.put(key, endpoint or workload())
    node.flush()
    return node.chains[key]


ALLOW: dict[str, Any] = {"ingress": [{"action": "Allow"}], "types": ["Ingress"]}


class TestOrder:
    @pytest.mark.parametrize(
        ("policies", "expected"),
        [
            ([gnp("b", **ALLOW), gnp("a", **ALLOW)], "default=a,b"),
            ([gnp("a", order=20, **ALLOW), gnp("b", order=10, **ALLOW)], "default=b,a"),
            ([gnp("a", **ALLOW), gnp("b", order=1e9, **ALLOW)], "default=b,a"),  # without an order comes last
            ([gnp("a", order=0, **ALLOW), gnp("b", order=-1, **ALLOW)], "default=b,a"),
            ([gnp("a", tier="ops", **ALLOW), gnp("b", **ALLOW)], "ops=a default=b"),
            ([gnp("a", tier="later", **ALLOW), gnp("b", **ALLOW)], "default=b later=a"),
            (
                [gnp("a", tier="kube-baseline", **ALLOW), gnp("b", tier="kube-admin", **ALLOW)],
                "kube-admin:pass=b kube-baseline:pass=a",
            ),
            # A tier that does not exist comes last, whatever its name, and denies.
            ([gnp("a", tier="aaa", **ALLOW), gnp("b", tier="kube-baseline", **ALLOW)], "kube-baseline:pass=b aaa=a"),
        ],
    )
    def test_of_tiers_and_policies(self, policies: list[Value], expected: str) -> None:
        tiers = {"ops": TierSpec(order=Order(5)), "later": TierSpec(order=Order(2_000_000))}
        for each in itertools.permutations(policies):
            assert said(chains(*each, tiers=tiers).normal.ingress) == expected

    def test_of_equal_names_goes_by_namespace_and_kind(self) -> None:
        one = resource("NetworkPolicy", "p", ALLOW)
        assert one.key.namespace == "default"
        other = gnp("p", **ALLOW)
        endpoint = workload({"a": "x", "projectcalico.org/namespace": "default"})
        tier = chains(one, other, endpoint=endpoint).normal.ingress.tiers[0]
        assert tier.policies == (other.key, one.key)  # "p//..." before "p/default/..."


class TestWhatApplies:
    @pytest.mark.parametrize(
        ("spec", "ingress", "egress"),
        [
            (ALLOW, "default=p", ""),
            ({"types": ["Egress"]}, "", "default=p"),
            ({"types": ["Ingress", "Egress"]}, "default=p", "default=p"),
            ({"selector": "a == 'y'", **ALLOW}, "", ""),
            ({"selector": "all()", **ALLOW}, "default=p", ""),
            ({"preDNAT": True, "applyOnForward": True, **ALLOW}, "", ""),
            ({"doNotTrack": True, "applyOnForward": True, **ALLOW}, "", ""),
            ({"applyOnForward": True, **ALLOW}, "default=p", ""),
        ],
    )
    def test_to_a_workload(self, spec: dict[str, Any], ingress: str, egress: str) -> None:
        found = chains(gnp("p", **spec))
        assert (said(found.normal.ingress), said(found.normal.egress)) == (ingress, egress)
        assert (found.forward, found.untracked, found.pre_dnat) == (Chains().forward, Chains().untracked, Chain())

    @pytest.mark.parametrize(
        ("spec", "normal", "forward", "untracked", "pre_dnat"),
        [
            (ALLOW, "default=p", "", "", ""),
            ({"applyOnForward": True, **ALLOW}, "default=p", "default=p", "", ""),
            ({"applyOnForward": True, "doNotTrack": True, **ALLOW}, "", "", "default:pass=p", ""),
            ({"applyOnForward": True, "preDNAT": True, **ALLOW}, "", "", "", "default:pass=p"),
        ],
    )
    def test_to_a_host_endpoint(
        self, spec: dict[str, Any], normal: str, forward: str, untracked: str, pre_dnat: str
    ) -> None:
        found = chains(gnp("p", **spec), key=HEP)
        ways = (found.normal.ingress, found.forward.ingress, found.untracked.ingress, found.pre_dnat)
        assert tuple(map(said, ways)) == (normal, forward, untracked, pre_dnat)

    def test_staged_policies_decide_nothing_and_a_tier_of_them_passes_on(self) -> None:
        staged = resource("StagedGlobalNetworkPolicy", "s", {"selector": "all()", "tier": "default", **ALLOW})
        assert said(chains(staged).normal.ingress) == "default:pass=s"
        assert said(chains(staged, gnp("p", **ALLOW)).normal.ingress) == "default=p,s"
        deletion = resource("StagedGlobalNetworkPolicy", "s", {"stagedAction": "Delete"})
        assert said(chains(deletion).normal.ingress) == ""

    def test_policies_of_a_namespace_apply_within_it(self) -> None:
        policy = resource("NetworkPolicy", "p", ALLOW)
        here, there = ({"projectcalico.org/namespace": name} for name in ("default", "other"))
        assert said(chains(policy, endpoint=workload(here)).normal.ingress) == "default=p"
        assert said(chains(policy, endpoint=workload(there)).normal.ingress) == ""


class TestProfiles:
    def test_stand_in_the_order_of_the_endpoint(self) -> None:
        found = chains(endpoint=workload({}, "b", "a"))
        assert said(found.normal.ingress) == " | b,a"
        assert said(found.normal.egress) == " | b,a"

    def test_one_that_does_not_exist_denies_everything_until_it_does(self) -> None:
        node = Node()
        key = profile_key("p")
        node.put(WEP, workload({}, "p"))
        node.flush()
        (rule,) = node.policies[key].ingress
        assert (rule.action, rule.origin.owner, rule.origin.number) == (Action.DENY, key, WHOLE_OBJECT)
        assert node.policies[key].egress[0].action is Action.DENY
        node.put(key, resource("Profile", "p", {"ingress": [{"action": "Allow"}]}))
        node.flush()
        assert [rule.action for rule in node.policies[key].ingress] == [Action.ALLOW]
        node.put(key, None)
        node.flush()
        assert [rule.action for rule in node.policies[key].ingress] == [Action.DENY]

    def test_the_built_in_one_always_exists(self) -> None:
        node = Node()
        node.put(WEP, workload({}, DEFAULT_ALLOW_NAME))
        node.flush()
        (policy,) = node.policies.values()
        assert [rule.action for rule in (*policy.ingress, *policy.egress)] == [Action.ALLOW, Action.ALLOW]


class TestBroken:
    def broken(self, **spec: Any) -> Quarantined:
        document = {
            "kind": "GlobalNetworkPolicy",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": "p"},
            "spec": {"ingress": [{"action": "Nonsense"}], **spec},
        }
        found = from_store(ResourceKey("GlobalNetworkPolicy", "", "p"), msgspec.json.encode(document))
        assert isinstance(found, Quarantined)
        return found

    def test_the_last_valid_version_stays_in_force(self) -> None:
        node = Node()
        good = gnp("p", **ALLOW)
        node.put(good.key, good)
        node.put(WEP, workload())
        node.flush()
        before = node.state()
        node.put(good.key, self.broken(selector="a == 'x'"))
        node.flush()
        assert node.state() == before
        node.put(good.key, None)
        node.flush()
        assert said(node.chains[WEP].normal.ingress) == ""

    @pytest.mark.parametrize(
        ("spec", "ingress", "egress"),
        [
            ({"selector": "a == 'x'"}, "default=p", "default=p"),
            ({"selector": "a == 'x'", "types": ["Ingress"]}, "default=p", ""),
            ({"selector": "a == 'x'", "types": ["Nonsense"]}, "default=p", "default=p"),
            ({"selector": "a == 'y'"}, "", ""),
            ({"selector": "a === 'x'"}, "", ""),
            ({"selector": 7}, "", ""),
            ({"selector": "a == 'x'", "namespaceSelector": "("}, "", ""),
            ({}, "default=p", "default=p"),
        ],
    )
    def test_one_that_never_was_in_order_closes(self, spec: dict[str, Any], ingress: str, egress: str) -> None:
        node = Node()
        value = self.broken(**spec)
        node.put(value.key, value)
        node.put(WEP, workload())
        node.flush()
        found = node.chains[WEP].normal
        assert (said(found.ingress), said(found.egress)) == (ingress, egress)
        for policy in node.policies.values():
            assert {rule.action for rule in (*policy.ingress, *policy.egress)} == {Action.DENY}


def test_only_what_an_endpoint_needs_is_translated_and_only_its_sets_are_wanted() -> None:
    node = Node()
    selecting = [{"action": "Allow", "source": {"selector": "role == 'client'"}}]
    needed = gnp("needed", ingress=selecting)
    idle = gnp("idle", selector="a == 'nobody'", ingress=[{"action": "Allow", "source": {"selector": "b == 'c'"}}])
    for each in (needed, idle):
        node.put(each.key, each)
    node.put(WEP, workload())
    node.flush()
    assert set(node.policies) == {needed.key}
    assert len(node.sets.flush().new) == 1
    node.put(WEP, None)
    node.flush()
    assert (node.policies, node.chains) == ({}, {})
    assert len(node.sets.flush().gone) == 1


DENY_SOME = [{"action": "Deny", "destination": {"selector": "b == 'x'"}}]
OBJECTS: dict[ResourceKey, list[Any]] = {
    WEP: [workload(), workload({"a": "y"}, "p"), workload({}, "p", "q")],
    OTHER: [workload(), workload({"a": "x", "b": "x"}, "q")],
    HEP: [workload()],
    ResourceKey("GlobalNetworkPolicy", "", "p1"): [
        gnp("p1", order=1, **ALLOW),
        gnp("p1", order=3, selector="has(a)", tier="ops", egress=DENY_SOME),
        gnp("p1", applyOnForward=True, preDNAT=True, **ALLOW),
    ],
    ResourceKey("GlobalNetworkPolicy", "", "p2"): [
        gnp("p2", order=2, **ALLOW),
        gnp("p2", selector="a == 'y'", ingress=[{"action": "Pass", "source": {"selector": "b == 'x'"}}]),
    ],
    ResourceKey("Tier", "", "ops"): [TierSpec(order=Order(5)), TierSpec(order=Order(9e9), default_action="Pass")],
    profile_key("p"): [resource("Profile", "p", {"ingress": [{"action": "Allow"}]})],
    profile_key("q"): [resource("Profile", "q", {}), resource("Profile", "q", {"egress": [{"action": "Deny"}]})],
}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(OBJECTS)), st.integers(-1, 2), st.booleans()),
        max_size=30,
    )
)
def test_the_result_depends_on_the_state_and_not_on_the_way(steps: list[tuple[ResourceKey, int, bool]]) -> None:
    node = Node()
    state: dict[ResourceKey, Any] = {}
    for key, version, flushes in steps:
        versions = OBJECTS[key]
        state[key] = None if version < 0 else versions[version % len(versions)]
        node.put(key, state[key])
        if flushes:
            node.flush()
    node.flush()
    fresh = Node()
    for key in sorted(state, reverse=True):
        if state[key] is not None:
            fresh.put(key, state[key])
    fresh.flush()
    assert node.state() == fresh.state()


def test_a_profile_that_is_missing_is_told() -> None:
    node = Node()
    node.put(WEP, workload({}, "absent"))
    node.flush()
    (problem,) = node.calculator.missing[profile_key("absent")]
    assert str(WEP) in str(problem)
    node.put(profile_key("absent"), resource("Profile", "absent", {}))
    node.flush()
    assert node.calculator.missing == {}
    node.put(profile_key("absent"), None)
    node.flush()
    assert node.calculator.missing.keys() == {profile_key("absent")}
    node.put(WEP, None)
    node.flush()
    assert node.calculator.missing == {}
