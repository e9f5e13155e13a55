"""iptables and nftables."""

from __future__ import annotations

from typing import Annotated

from tortie.model.felix.packets import PacketSettings
from tortie.model.felix.types import InterfaceFilter, MarkMask, WholeDuration
from tortie.model.scalars import Duration
from tortie.model.schema import any_case, exact_case

AcceptReturn = Annotated[str, any_case("Accept", "Return")]
DropReject = Annotated[str, any_case("Drop", "Reject")]
Backend = Annotated[str, exact_case("Auto", "Legacy", "NFT")]
Offload = Annotated[str, exact_case("All", "Disabled")]
Mode = Annotated[str, exact_case("Auto", "Disabled", "Enabled")]


class NetfilterSettings(PacketSettings, frozen=True, kw_only=True):
    """iptables and nftables."""

    iptables_backend: Backend = ""
    """Which iptables: Legacy, NFT, or Auto for the one that the host uses. Default: Auto."""

    iptables_filter_allow_action: AcceptReturn = ""
    """Accept: an allowed packet is accepted; Return: the host's own rules see it too. Default: Accept."""

    iptables_filter_deny_action: DropReject = ""
    """Whether a denied packet is dropped or answered. Default: Drop."""

    iptables_lock_probe_interval: WholeDuration | None = None
    """How often iptables' lock is tried. Default: 50ms."""

    iptables_mangle_allow_action: AcceptReturn = ""
    """As iptablesFilterAllowAction, in the mangle table. Default: Accept."""

    iptables_mark_mask: MarkMask | None = None
    """The bits of packet marks that may be used. Default: 0xffff0000."""

    iptables_nat_outgoing_interface_filter: InterfaceFilter = ""
    """Masquerades only on this interface, or on those that begin so before a +. Default: on all."""

    iptables_post_write_check_interval: WholeDuration | None = None
    """When rules are read back after a write. Default: 5s."""

    iptables_refresh_interval: WholeDuration | None = None
    """How often rules are compared with what they should be; 0s: never. Default: 3m0s."""

    nftables_filter_allow_action: AcceptReturn = ""
    """As iptablesFilterAllowAction. Default: Accept."""

    nftables_filter_deny_action: DropReject = ""
    """As iptablesFilterDenyAction. Default: Drop."""

    nftables_flow_table_data_iface_pattern: str = ""
    """Interfaces of the flow table, as a regular expression. Default: none."""

    nftables_flow_table_offload: Offload = ""
    """Whether established connections take the flow table's short way: All or Disabled. Default: Disabled."""

    nftables_mangle_allow_action: AcceptReturn = ""
    """As iptablesMangleAllowAction. Default: Accept."""

    nftables_mark_mask: MarkMask | None = None
    """The bits of packet marks that may be used. Default: 0xffff0000."""

    nftables_mode: Mode = ""
    """nftables instead of iptables: Enabled, Disabled, or Auto. Default: Auto."""

    nftables_refresh_interval: Duration | None = None
    """How often rules are compared with what they should be; 0s: never. Default: 3m0s."""
