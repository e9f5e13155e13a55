"""Fields as the model has them: types, allowed values, defaults, meanings."""

from __future__ import annotations

import pytest

from tests.unit.model.test_documentation import documented_fields
from tortie.cli import fields
from tortie.cli.fields import Field
from tortie.cli.reference import ALLOCATION
from tortie.errors import UsageError
from tortie.model import KINDS


def field(kind: str, path: str) -> Field:
    return fields.find(fields.of_kind(KINDS[kind]), path)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("IPPool", "spec.cidr", "prefix"),
        ("IPPool", "spec.natOutgoing", "boolean"),
        ("IPPool", "spec.blockSize", "whole number"),
        ("IPPool", "spec.nodeSelector", "selector"),
        ("IPPool", "spec.allowedUses", "list of texts"),
        ("IPPool", "metadata.labels", "map of names to texts"),
        ("IPPool", "spec", "object"),
        ("BGPPeer", "spec.asNumber", "AS number"),
        ("Profile", "spec.ingress", "list of objects"),
        ("IPReservation", "spec.reservedCIDRs", "list of prefixes"),
        ("WorkloadEndpoint", "spec.ipNetworks", "list of addresses"),
        ("Node", "spec.bgp.ipv4Address", "interface address"),
    ],
)
def test_types_in_words(kind: str, path: str, expected: str) -> None:
    assert field(kind, path).type == expected


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("IPPool", "spec.ipipMode", "one of Always, CrossSubnet, Never"),
        ("IPPool", "spec.natOutgoing", ""),
        ("BGPConfiguration", "spec.listenPort", "1 to 65535"),
        ("FelixConfiguration", "spec.ipForwarding", "one of Enabled, Disabled"),
        ("FelixConfiguration", "spec.bpfLogLevel", "one of Off, Info, Debug"),
        ("BGPPeer", "spec.asNumber", "an AS number: 0 to 4294967295, or dotted as 1.10"),
        ("Profile", "spec.ingress", "at most 1024 items"),
        ("IPReservation", "spec.reservedCIDRs", "a prefix with its length, such as 10.65.0.0/16 or 10.65.0.1/32"),
        ("Node", "spec.addresses.type", "one of CalicoNodeIP, ExternalIP, InternalIP"),
    ],
)
def test_allowed_values_are_those_of_the_validator(kind: str, path: str, expected: str) -> None:
    assert field(kind, path).allowed == expected


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("IPPool", "spec.ipipMode", "Never"),
        ("IPPool", "spec.blockSize", "26 in IPv4, 122 in IPv6"),
        ("IPPool", "spec.allowedUses", "Workload and Tunnel"),
        ("IPPool", "spec.cidr", ""),
    ],
)
def test_defaults(kind: str, path: str, expected: str) -> None:
    found = field(kind, path)
    assert found.default == expected
    assert "Default:" not in found.text


def test_required_fields() -> None:
    assert field("IPPool", "spec.cidr").required
    assert field("IPPool", "spec").required
    assert not field("IPPool", "spec.natOutgoing").required
    assert not field("Node", "spec").required


def test_fields_without_effect_are_those_that_tortie_does_not_honour() -> None:
    assert not field("FelixConfiguration", "spec.interfacePrefix").without_effect
    assert field("FelixConfiguration", "spec.awsSrcDstCheck").without_effect
    assert field("FelixConfiguration", "spec.bpfConntrackTimeouts.udpTimeout").without_effect
    assert not any(each.without_effect for each in fields.walk(fields.of_kind(KINDS["IPPool"])))


def test_the_text_of_a_base_class_is_found() -> None:
    assert field("FelixConfiguration", "spec.ipForwarding").text == "Sets the sysctls that let the host forward."


def test_a_path_may_be_written_in_any_case_and_with_indices() -> None:
    assert field("Profile", "Spec.INGRESS[0].source").path == "spec.ingress.source"
    assert field("Profile", "spec.ingress[].source").path == "spec.ingress.source"
    assert field("IPPool", "").name == "IPPool"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("spec.natOutgoin", "IPPool.spec has no field 'natOutgoin'; did you mean 'natOutgoing'?"),
        ("natOutgoing", "IPPool has no field 'natOutgoing'; did you mean 'spec.natOutgoing'?"),
        ("spec.cidr.xyzzy", "IPPool.spec.cidr has no field 'xyzzy'"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, said: str) -> None:
    with pytest.raises(UsageError, match="has no field") as caught:
        field("IPPool", path)
    assert str(caught.value) == said


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_kind_has_a_text(kind: str) -> None:
    assert [each.path for each in fields.walk(fields.of_kind(KINDS[kind])) if not (each.text or each.default)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_in_a_sentence_what_it_is(kind: str) -> None:
    about = fields.about(KINDS[kind])
    assert about.endswith(".")
    assert about[0].isupper()


@pytest.mark.parametrize("name", ALLOCATION)
def test_every_field_of_what_ipam_keeps_has_a_text(name: str) -> None:
    cls, _ = ALLOCATION[name]
    assert set(cls.__struct_fields__) - documented_fields(cls) == set()


def test_a_module_without_source_has_no_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_source(_: object) -> str:
        raise OSError("source code not available")

    fields._texts_in.cache_clear()
    fields._texts.cache_clear()
    monkeypatch.setattr("inspect.getsource", no_source)
    assert field("IPPool", "spec.natOutgoing").text == ""
    fields._texts_in.cache_clear()
    fields._texts.cache_clear()
