"""Which servers an etcd URL means, and whose turn it is.

    etcd://HOST:PORT[,HOST:PORT...]   named one by one; the port is 2379 unless given
    etcd+srv://DOMAIN                 as the SRV records of `_etcd-client._tcp.DOMAIN` tell, or with TLS those of
                                      `_etcd-client-ssl._tcp.DOMAIN` (etcd's documentation, "DNS discovery"); they
                                      are looked up anew before each round

An unusable URL is a `UsageError`. A domain that tells nothing is `Unavailable`, since it may tell more later.
"""

from __future__ import annotations

import random
import re

from tortie.errors import Unavailable, UsageError

DEFAULT_PORT = 2379

_SCHEMES = {"etcd": False, "etcds": True, "etcd+srv": False, "etcds+srv": True}
_HOST = r"\[[0-9a-fA-F:.]+(?:%\w+)?\]|[A-Za-z0-9_.-]+"
_ADDRESS = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?")


class Members:
    """The servers of one etcd, taken in turn."""

    def __init__(self, url: str) -> None:
        self.url = url
        scheme, _, place = url.partition("://")
        self.tls = _SCHEMES[scheme]
        self._domain = ""
        self._addresses: list[str] = []
        self._turn = 0
        if scheme.endswith("+srv"):
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", place):
                raise UsageError(f"datastore {url!r}: write {scheme}://DOMAIN")
            self._domain = place
        else:
            self._addresses = [_address(part, url) for part in place.split(",")]

    @property
    def named(self) -> tuple[str, ...]:
        """The addresses, HOST:PORT, that the URL names; none of a domain that was not asked yet."""
        return tuple(self._addresses)

    @property
    def count(self) -> int:
        return max(1, len(self._addresses))

    async def next(self) -> str:
        """The address, HOST:PORT, of the server to try now."""
        if self._domain and self._turn % self.count == 0:
            self._addresses = await self._look_up()
        address = self._addresses[self._turn % self.count]
        self._turn += 1
        return address

    async def _look_up(self) -> list[str]:
        # Only here: few clusters are found by DNS.
        import dns.asyncresolver
        import dns.exception

        name = f"_etcd-client{'-ssl' if self.tls else ''}._tcp.{self._domain}"
        try:
            answer = await dns.asyncresolver.resolve(name, "SRV", lifetime=5.0)
        except dns.exception.DNSException as error:
            raise Unavailable(f"datastore {self.url}: no SRV records of {name}: {error}") from error
        # The lowest priority first; among equals each client begins with another.
        records = sorted(answer, key=lambda record: (record.priority, random.random()))
        return [f"{record.target.to_text(omit_final_dot=True)}:{record.port}" for record in records]


def _address(text: str, url: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2] or DEFAULT_PORT) < 65536:
        raise UsageError(f"datastore {url!r}: {text!r} must be HOST:PORT; write an IPv6 address in square brackets")
    return f"{found[1]}:{found[2] or DEFAULT_PORT}"
