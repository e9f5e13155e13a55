"""Joins a workload to its host: an interface, its guest side, and the WorkloadEndpoint that asks for the route.

The agent's API is the only caller; the route itself is the data plane's, which follows the endpoint.
"""

from tortie.attach.request import AttachRequest, AttachResult, DetachRequest
from tortie.attach.service import AttachService

__all__ = ["AttachRequest", "AttachResult", "AttachService", "DetachRequest"]
