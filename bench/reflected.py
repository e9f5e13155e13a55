"""What hosts of a benchmark have in common that peer with a route reflector alone: the end of their topology."""

from __future__ import annotations

RESOURCES = """\
resources:
  - apiVersion: projectcalico.org/v3
    kind: IPPool
    metadata: {name: workloads}
    spec: {cidr: 10.65.0.0/16}
  - apiVersion: projectcalico.org/v3
    kind: BGPConfiguration
    metadata: {name: default}
    spec: {nodeToNodeMeshEnabled: false, asNumber: 64512}
  - apiVersion: projectcalico.org/v3
    kind: BGPPeer
    metadata: {name: nodes-to-reflector}
    spec: {nodeSelector: "!has(role)", peerSelector: role == 'reflector'}
"""
