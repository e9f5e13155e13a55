"""IPReservation: addresses of pools that are given to nobody by themselves."""

from __future__ import annotations

from tortie.model.kind import NAME, Kind, column, shortened
from tortie.model.resource import Resource
from tortie.model.schema import Prefix, Spec


class IPReservationSpec(Spec, frozen=True, kw_only=True):
    """Addresses that automatic allocation leaves out. Those given already stay, and a workload may ask for one.

    Source: api/pkg/apis/projectcalico/v3/ipreservation.go
    """

    reserved_cidrs: tuple[Prefix, ...] = ()
    """The addresses, as prefixes with their length: 10.65.0.0/30, 10.65.0.21/32."""


def _cidrs(reservation: Resource[IPReservationSpec]) -> str:
    return shortened(",".join(map(str, reservation.spec.reserved_cidrs)))


KIND = Kind(
    name="IPReservation",
    plural="ipreservations",
    aliases=("ipreservation", "reservation", "reservations"),
    spec=IPReservationSpec,
    columns=(NAME,),
    wide=(NAME, column("CIDRS", _cidrs)),
)
