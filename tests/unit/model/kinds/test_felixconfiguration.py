"""FelixConfiguration: every setting of Calico is known, and what counts is worked out field by field."""

from __future__ import annotations

import ast
import inspect
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import pytest

from tests.unit.model.documents import TIME, UID, document, key
from tortie.calc import firewall, settings
from tortie.model import KINDS, Resource, from_store, from_user, stamped, to_store, with_spec
from tortie.model.kinds.felixconfiguration import BUILT_IN, HONOURED, FelixConfigurationSpec, effective
from tortie.model.schema import convert
from tortie.model.write import rendered

CALICOS_NAMES = """
allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads awsSrcDstCheck bpfAttachType bpfCTLBLogFilter
bpfConnectTimeLoadBalancing bpfConnectTimeLoadBalancingEnabled bpfConntrackLogLevel bpfConntrackMode
bpfConntrackTimeouts bpfDSROptoutCIDRs bpfDataIfacePattern bpfDisableGROForIfaces bpfDisableUnprivileged
bpfEnabled bpfEnforceRPF bpfExcludeCIDRsFromNAT bpfExportBufferSizeMB bpfExtToServiceConnmark
bpfExternalServiceMode bpfForceTrackPacketsFromIfaces bpfHostConntrackBypass bpfHostNetworkedNATWithoutCTLB
bpfIPFragTimeout bpfIPFragmentReassemblyEnabled bpfJITHardening bpfKubeProxyHealthzPort
bpfKubeProxyIptablesCleanupEnabled bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogFilters bpfLogLevel
bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices bpfMapSizeConntrack bpfMapSizeConntrackCleanupQueue
bpfMapSizeConntrackScaling bpfMapSizeIPSets bpfMapSizeIfState bpfMapSizeNATAffinity bpfMapSizeNATBackend
bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute bpfOverlayHostSourceIP bpfPSNATPorts
bpfPolicyDebugEnabled bpfProfiling bpfRedirectToPeer cgroupV2Path chainInsertMode dataplaneDriver
dataplaneWatchdogTimeout defaultEndpointToHostAction deviceRouteProtocol deviceRouteSourceAddress
deviceRouteSourceAddressIPv6 disableConntrackInvalidCheck endpointReportingDelay endpointReportingEnabled
endpointStatusPathPrefix externalNodesList failsafeInboundHostPorts failsafeOutboundHostPorts
featureDetectOverride featureGates floatingIPs flowLogsCollectorDebugTrace flowLogsFlushInterval
flowLogsGoldmaneServer flowLogsLocalReporter flowLogsPolicyEvaluationMode genericXDPEnabled goGCThreshold
goMaxProcs goMemoryLimitMB healthEnabled healthHost healthPort healthTimeoutOverrides interfaceExclude
interfacePrefix interfaceRefreshInterval ipForwarding ipipEnabled ipipMTU ipsetsRefreshInterval iptablesBackend
iptablesFilterAllowAction iptablesFilterDenyAction iptablesLockProbeInterval iptablesMangleAllowAction
iptablesMarkMask iptablesNATOutgoingInterfaceFilter iptablesPostWriteCheckInterval iptablesRefreshInterval
ipv4ElevatedRoutePriority ipv4NormalRoutePriority ipv6ElevatedRoutePriority ipv6NormalRoutePriority ipv6Support
istioAmbientMode istioDSCPMark kubeNodePortRanges liveMigrationRouteConvergenceTime localSubnetL2Reachability
localSubnetL2ReachabilityRefreshInterval logActionRateLimit logActionRateLimitBurst logDebugFilenameRegex
debugDisableLogDropping debugHost debugMemoryProfilePath debugPort debugSimulateCalcGraphHangAfter
debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter
logFilePath logPrefix logSeverityFile logSeverityScreen logSeveritySys maxIpsetSize metadataAddr metadataPort
mtuIfacePattern natOutgoingAddress natOutgoingExclusions natPortRange netlinkTimeout nftablesFilterAllowAction
nftablesFilterDenyAction nftablesFlowTableDataIfacePattern nftablesFlowTableOffload nftablesMangleAllowAction
nftablesMarkMask nftablesMode nftablesRefreshInterval openstackRegion policySyncPathPrefix programClusterRoutes
prometheusGoMetricsEnabled prometheusMetricsCAFile prometheusMetricsCertFile prometheusMetricsClientAuth
prometheusMetricsEnabled prometheusMetricsHost prometheusMetricsKeyFile prometheusMetricsPort
prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled removeExternalRoutes reportingInterval
reportingTTL requireMTUFile routeRefreshInterval routeSource routeSyncDisabled routeTableRange routeTableRanges
serviceLoopPrevention sidecarAccelerationEnabled usageReportingEnabled usageReportingInitialDelay
usageReportingInterval useInternalDataplaneDriver vxlanEnabled vxlanMTU vxlanMTUV6 vxlanPort vxlanVNI
windowsManageFirewallRules wireguardEnabled wireguardEnabledV6 wireguardHostEncryptionEnabled
wireguardInterfaceName wireguardInterfaceNameV6 wireguardKeepAlive wireguardListeningPort
wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority wireguardThreadingEnabled
workloadSourceSpoofing xdpEnabled xdpRefreshInterval
"""


def spec(**fields: Any) -> FelixConfigurationSpec:
    return convert(fields, FelixConfigurationSpec)


def test_every_name_is_known() -> None:
    assert set(FelixConfigurationSpec.__struct_encode_fields__) == {*CALICOS_NAMES.split(), "nodeSelector"}


def test_what_is_honoured_is_what_the_agent_reads() -> None:
    trees = (ast.parse(inspect.getsource(module)) for module in (settings, firewall))
    read = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert read & set(FelixConfigurationSpec.__struct_fields__) == HONOURED
    assert KINDS["FelixConfiguration"].honoured == HONOURED


VALUES: dict[str, Any] = {
    "allowIPIPPacketsFromWorkloads": True,
    "bpfConntrackTimeouts": {"tcpEstablished": "1h", "icmpTimeout": "Auto"},
    "bpfDSROptoutCIDRs": ["10.0.0.0/8", "10.0.0.1"],
    "bpfForceTrackPacketsFromIfaces": ["docker+", "br0"],
    "istioDSCPMark": "AF41",
    "bpfLogFilters": {"all": "tcp"},
    "bpfPSNATPorts": "20000:29999",
    "chainInsertMode": "append",
    "deviceRouteProtocol": 80,
    "failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22, "net": "10.0.0.0/8"}],
    "failsafeOutboundHostPorts": [],
    "healthTimeoutOverrides": [{"name": "x", "timeout": "1m30s"}],
    "interfaceExclude": "kube-ipvs0,/^veth/",
    "iptablesMarkMask": 4294901760,
    "kubeNodePortRanges": ["30000:32767", 80],
    "logSeverityScreen": "warning",
    "natPortRange": 0,
    "openstackRegion": "eu-1",
    "routeTableRanges": [{"min": 1, "max": 250}],
    "xdpEnabled": False,
}


@pytest.mark.parametrize("field", VALUES)
def test_values_survive(field: str) -> None:
    assert rendered(spec(**{field: VALUES[field]}), {field: VALUES[field]}) == {field: VALUES[field]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chainInsertMode", "Prepend"),
        ("healthPort", 65536),
        ("ipv4NormalRoutePriority", 0),
        ("iptablesMarkMask", "0xffff0000"),
        ("kubeNodePortRanges", list(range(8))),
        ("logActionRateLimitBurst", 10000),
        ("logSeverityScreen", "loud"),
        ("openstackRegion", "EU"),
        ("openstackRegion", "e" * 47),
        ("reportingInterval", 30),
        ("routeTableRange", {"min": 1}),
        ("xdpEnabled", "yes"),
    ],
)
def test_values_are_checked(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        spec(**{field: value})


class TestEffective:
    def test_without_objects_the_built_in_values_count(self) -> None:
        assert effective() == BUILT_IN
        assert effective(spec(), spec()) == BUILT_IN

    def test_the_first_object_that_sets_a_field_wins(self) -> None:
        node = spec(interfacePrefix="tap", endpointReportingEnabled=False, reportingInterval="0s")
        everyone = spec(endpointReportingEnabled=True, reportingInterval="10s", ipv6Support=False)
        counts = effective(node, everyone)
        assert counts.interface_prefix == ("tap",)
        assert counts.endpoint_reporting_enabled is False
        assert counts.reporting_interval == timedelta(0)
        assert counts.ipv6_support is False
        assert counts.reporting_ttl == timedelta(seconds=90)

    def test_an_explicit_empty_list_is_set(self) -> None:
        node, everyone = spec(failsafeInboundHostPorts=[]), spec(failsafeInboundHostPorts=[{"port": 22}])
        assert effective(node, everyone).failsafe_inbound_host_ports == ()


class TestOverrides:
    def test_annotations_that_beat_the_fields_survive_a_change(self) -> None:
        body = document("FelixConfiguration")
        body["metadata"]["annotations"] = {"config.projectcalico.org/BPFLogLevel": "anything at all"}
        stored = from_store(key("FelixConfiguration"), msgspec.json.encode(body))
        assert isinstance(stored, Resource)
        changed = with_spec(stored, msgspec.structs.replace(stored.spec, ipv6_support=False))
        assert msgspec.json.decode(to_store(changed))["metadata"]["annotations"] == body["metadata"]["annotations"]

    def test_a_decimal_that_felix_reads_is_written_without(self) -> None:
        body = document("FelixConfiguration", reportingInterval="1.5s")
        stored = from_store(key("FelixConfiguration"), msgspec.json.encode(body))
        assert isinstance(stored, Resource)
        assert msgspec.json.decode(to_store(stored))["spec"]["reportingInterval"] == "1s500ms"


class TestNewerFields:
    """What a newer Calico put into a setting that is a list or an object of its own."""

    FIELDS: ClassVar[dict[str, Any]] = {
        "bpfConntrackTimeouts": {"tcpEstablished": "1h", "quicEstablished": "2h"},
        "failsafeInboundHostPorts": [
            {"protocol": "TCP", "port": 22, "zone": "a"},
            {"protocol": "UDP", "port": 68, "zone": {"deep": [2**60]}},
        ],
        "healthTimeoutOverrides": [{"name": "x", "timeout": "1m0s", "action": "Restart"}],
        "routeTableRanges": [{"min": 1, "max": 250, "vrf": "red"}],
        "newSetting": {"a": [None, 1.5]},
    }

    def stored(self) -> Resource[FelixConfigurationSpec]:
        body = document("FelixConfiguration", **self.FIELDS)
        found = from_store(key("FelixConfiguration"), msgspec.json.encode(body))
        assert isinstance(found, Resource)
        return found

    def written(self, resource: Resource[Any]) -> dict[str, Any]:
        spec: dict[str, Any] = msgspec.json.decode(to_store(resource))["spec"]
        return {field: spec[field] for field in self.FIELDS}

    def test_survive_a_change_beside_them(self) -> None:
        stored = self.stored()
        changed = with_spec(stored, msgspec.structs.replace(stored.spec, ipv6_support=False))
        assert self.written(changed) == self.FIELDS

    def test_survive_a_change_of_their_neighbour(self) -> None:
        stored = self.stored()
        first, second = stored.spec.failsafe_inbound_host_ports or ()
        ports = (second, msgspec.structs.replace(first, port=2222))
        after = self.written(with_spec(stored, msgspec.structs.replace(stored.spec, failsafe_inbound_host_ports=ports)))
        assert after["failsafeInboundHostPorts"][0] == self.FIELDS["failsafeInboundHostPorts"][1]

    def test_survive_an_edit_that_shows_them_and_moves_them(self) -> None:
        ssh, dhcp = self.FIELDS["failsafeInboundHostPorts"]
        ports = [{"protocol": "TCP", "port": 179}, dhcp, ssh | {"port": 2222}]
        body = document("FelixConfiguration", **(self.FIELDS | {"failsafeInboundHostPorts": ports}))
        after = self.written(from_user(body, stored=self.stored()))
        assert after["failsafeInboundHostPorts"] == ports

    def test_survive_an_edit_that_does_not_know_them(self) -> None:
        known = {
            "bpfConntrackTimeouts": {"tcpEstablished": "1h"},
            "failsafeInboundHostPorts": [{"protocol": "TCP", "port": 22}, {"protocol": "UDP", "port": 68}],
            "healthTimeoutOverrides": [{"name": "x", "timeout": "1m"}],
            "routeTableRanges": [{"min": 1, "max": 250}],
        }
        after = self.written(from_user(document("FelixConfiguration", **known), stored=self.stored()))
        assert after == {**self.FIELDS, "newSetting": {"a": [None, 1.5]}}


class TestDefaultsOfWriting:
    def written(self, name: str, **fields: Any) -> dict[str, Any]:
        body = document("FelixConfiguration") | {"spec": fields}
        body["metadata"]["name"] = name
        found: dict[str, Any] = msgspec.json.decode(to_store(stamped(from_user(body), UID, TIME)))
        return found["spec"]  # type: ignore[no-any-return]  # JSON

    def test_calicos_are_put_into_the_object_of_all_nodes(self) -> None:
        assert self.written("default", floatingIPs="Enabled") == {
            "floatingIPs": "Enabled",
            "nftablesFlowTableOffload": "Disabled",
            "nftablesMode": "Auto",
            "bpfConnectTimeLoadBalancing": "TCP",
            "bpfHostNetworkedNATWithoutCTLB": "Enabled",
        }

    def test_but_not_into_that_of_a_node_where_they_would_beat_the_others(self) -> None:
        assert self.written("node.n1", ipv6Support=False) == {"ipv6Support": False}

    @pytest.mark.parametrize(("switch", "word"), [(True, "Enabled"), (False, "Disabled")])
    def test_the_deprecated_switch_forces_what_replaces_it(self, switch: bool, word: str) -> None:
        written = self.written(
            "default",
            bpfConnectTimeLoadBalancingEnabled=switch,
            bpfConnectTimeLoadBalancing="TCP",
            bpfHostNetworkedNATWithoutCTLB="Enabled",
        )
        assert (written["bpfConnectTimeLoadBalancing"], written["bpfHostNetworkedNATWithoutCTLB"]) == (word, "Disabled")
