"""Findings about an object, as Kubernetes' programs write them into its `status`."""

from __future__ import annotations

from tortie.model.schema import Int64, Spec


class Condition(Spec, frozen=True, kw_only=True):
    """A finding, written by Calico's controllers and kept."""

    type: str
    """What was looked at."""

    status: str
    """True, False or Unknown."""

    reason: str = ""
    """One word for why."""

    message: str = ""
    """The same for people."""

    last_transition_time: str = ""
    """When the status changed last, RFC 3339."""

    observed_generation: Int64 = 0
    """The generation of the object that was looked at."""
