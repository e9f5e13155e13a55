"""A small cluster to ask about: web and probe on node a, db on node b, pools that are translated."""

from __future__ import annotations

from typing import Any

from tests.unit.calc.cluster import node, pool, resource
from tortie.model.resource import Resource


def endpoint(name: str, node: str, *addresses: str, labels: dict[str, str] | None = None, **spec: Any) -> Resource[Any]:
    fields = {
        "orchestrator": "tortie",
        "node": node,
        "workload": name,
        "endpoint": "eth0",
        "ipNetworks": list(addresses),
        "profiles": ["open"],
        "interfaceName": f"cali{name}",
    }
    return resource("WorkloadEndpoint", f"{node}-tortie-{name}-eth0", fields | spec, {"app": name} | (labels or {}))


def policy(name: str, **spec: Any) -> Resource[Any]:
    return resource("GlobalNetworkPolicy", f"default.{name}", {"tier": "default", **spec})


OPEN = resource("Profile", "open", {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]})
OBJECTS = (
    node("a", "172.18.203.125/24", "fd00:18::125/64"),
    node("b", "172.18.203.126/24", "fd00:18::126/64"),
    endpoint("web", "a", "10.65.0.1", "fd00:65::1"),
    endpoint("probe", "a", "10.65.0.3"),
    endpoint("db", "b", "10.65.0.2", "fd00:65::2", ports=[{"name": "pg", "protocol": "TCP", "port": 5432}]),
    OPEN,
    pool("pool", "10.65.0.0/16", natOutgoing=True),
    resource("GlobalNetworkSet", "office", {"nets": ["203.0.113.0/24"]}, {"role": "office"}),
    policy(
        "db",
        order=10,
        selector="app == 'db'",
        types=["Ingress"],
        ingress=[
            {
                "action": "Allow",
                "protocol": "TCP",
                "source": {"selector": "app == 'web' || role == 'office'"},
                "destination": {"ports": ["pg"]},
            }
        ],
    ),
)
