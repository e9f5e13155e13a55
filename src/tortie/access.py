"""Where a datastore is and how to get in: what configuration says and a backend needs.

A URL names the place and never holds a secret, so it may be shown; what opens the door stands beside it.

    sqlite:///PATH                        a file of this machine
    etcd://HOST:PORT[,HOST:PORT...]       etcd; `etcds:` with TLS
    etcd+srv://DOMAIN                     etcd's members as DNS tells them (SRV records); `etcds+srv:` with TLS
"""

from __future__ import annotations

from pathlib import Path

import msgspec

_SQLITE = "sqlite://"
DEFAULT_URL = "sqlite:///var/lib/tortie/tortie.db"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """How to get into an etcd; all of it optional.

    Certificates and key are files in PEM form, or the PEM text itself, and never both. Files are read at each new
    connection, so that they may be renewed under a running agent.
    """

    ca_cert_file: str = ""  # who may have signed the server's certificate; default: the authorities of this machine
    cert_file: str = ""  # this client's certificate, and its key
    key_file: str = ""
    ca_cert: str = ""
    cert: str = ""
    key: str = ""
    username: str = ""
    password: str = ""
    password_file: str = ""  # its first line is the password

    def __repr__(self) -> str:
        given = [field for field in self.__struct_fields__ if getattr(self, field)]
        return f"Credentials({', '.join(given)})"


NO_CREDENTIALS = Credentials()


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """One datastore. Its `repr` and its `url` hold no secret."""

    url: str = DEFAULT_URL
    credentials: Credentials = NO_CREDENTIALS
    named_by: str = ""  # the file or variable that said so, for errors; empty: it is the default

    @property
    def local_file(self) -> Path | None:
        """The file of a store that is one."""
        return Path(self.url.removeprefix(_SQLITE)) if self.url.startswith(_SQLITE) else None
