"""Names and numbers that all parts, all hosts and all guests must agree on; every folder may import them.

They are part of the external contract: a guest keeps its gateway when it moves to another host because these are
equal everywhere, and a fresh agent recognises the rows of its predecessor by them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

# Kernel route, neighbour (NDA_PROTOCOL) and address (IFA_PROTO) ownership. Not Felix's 80, so both may be seen apart.
ROUTE_PROTOCOL = 116
ELEVATED_ROUTE_PROTOCOL = 118  # a workload that just moved here: wins over the old host's route

# IPv4 local routes stand above BIRD's (32). IPv6 turns 0 into 1024, which would lose to BIRD's 32.
ROUTE_METRIC_V4 = 0
ROUTE_METRIC_V6 = 16

GATEWAY_V4 = IPv4Address("169.254.1.1")
GATEWAY_V6 = IPv6Address("fe80::ecee:eeff:feee:eeee")  # the link-local address that belongs to VETH_MAC

VETH_MAC = "ee:ee:ee:ee:ee:ee"

# Annotation of a workload endpoint: the MTU that whoever attached it asked for, so it does not follow the uplink's.
MTU_ANNOTATION = "tortie/mtu"

# Groups of nflog in which every policy backend tells of packets: dropped ones with the reason as prefix, and those
# that a rule's Log action names.
DROP_GROUP = 1160
LOG_GROUP = 1161


def host_end_mac(kind: str, guest_mac: str) -> str:
    """The MAC of the host end, from the link's kind and the guest's MAC; empty: leave the interface's own.

    A tap must differ from its guest (both are on one wire), yet be equal on every host the guest moves to.
    """
    if kind != "tun":
        return VETH_MAC
    return f"fe:{guest_mac[3:]}" if guest_mac else ""
