"""The addresses that the host itself holds, and so answers duplicate-address probes for."""

from __future__ import annotations

from tortie.dataplane.l3.rows import Address, Asked, AskedKey, Kind, RowKey, Rows


class HeldAddresses:
    """Which addresses stand on which interfaces; an address counts once however many interfaces hold it."""

    def __init__(self) -> None:
        self._on: dict[Address, set[int]] = {}

    def added(self, ifindex: int, address: Address) -> None:
        self._on.setdefault(address, set()).add(ifindex)

    def gone(self, ifindex: int, address: Address) -> None:
        interfaces = self._on.get(address, set())
        interfaces.discard(ifindex)
        if not interfaces:
            self._on.pop(address, None)

    def interfaces(self, address: Address) -> frozenset[int]:
        return frozenset(self._on.get(address, ()))

    def clear(self) -> None:
        self._on.clear()

    def row(self, address: Address) -> tuple[RowKey, Asked | None]:
        """The responder's row for an address; None where there should be none."""
        # Loopback never leaves the host; link-local IPv6 is held per link and rendered with the endpoint.
        public = not address.is_loopback and not (address.version == 6 and address.is_link_local)
        return _key(address), Asked.HELD if public and address in self._on else None

    def rows(self) -> Rows:
        wanted = (self.row(address) for address in self._on)
        return {key: value for key, value in wanted if value is not None}


def _key(address: Address) -> RowKey:
    return RowKey(Kind.ASKED, AskedKey(0, address))
