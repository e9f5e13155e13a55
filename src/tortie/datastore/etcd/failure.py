"""What etcd and gRPC call an error, as the errors of tortie; nowhere else are they told apart.

The texts are etcd's own (api/v3rpc/rpctypes/error.go); its status codes alone do not tell a wrong password from a
transaction that is too long.
"""

from __future__ import annotations

import grpc

from tortie.errors import DatastoreError, NotFound, Unavailable

Code = grpc.StatusCode

# Nothing reached a server, so whatever was asked can be asked again.
_NOT_SENT = (
    "failed to connect",
    "connection refused",
    "name resolution",
    "dns resolution",
    "handshake",
    "no such host",
)
_RETRIED_CODES = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNKNOWN, Code.ABORTED, Code.INTERNAL)


# etcd's gRPC proxy of version 3.4 passes the texts on, and UNKNOWN as the code of all of them.
_CODES_BY_TEXT = {
    "requested lease not found": Code.NOT_FOUND,
    "required revision has been compacted": Code.OUT_OF_RANGE,
    "invalid auth token": Code.UNAUTHENTICATED,
    "permission denied": Code.PERMISSION_DENIED,
    "database space exceeded": Code.RESOURCE_EXHAUSTED,
    "duplicate key given in txn request": Code.INVALID_ARGUMENT,
    "too many operations in txn request": Code.INVALID_ARGUMENT,
    "request is too large": Code.INVALID_ARGUMENT,
}


class Rejected(Exception):
    """One call to one server failed. `code` and `text` are gRPC's."""

    def __init__(self, code: Code, text: str) -> None:
        self.text = text.replace("etcdserver: ", "").replace("mvcc: ", "").strip() or code.value[1]
        known = (_CODES_BY_TEXT[words] for words in _CODES_BY_TEXT if words in self.text)
        self.code = next(known, code) if code is Code.UNKNOWN else code
        super().__init__(self.text)

    @property
    def not_sent(self) -> bool:
        """The server never saw the request."""
        text = self.text.lower()
        return self.code is Code.UNAVAILABLE and any(words in text for words in _NOT_SENT)

    @property
    def is_outage(self) -> bool:
        """Another server, or this one later, may answer."""
        return self.code in _RETRIED_CODES

    @property
    def is_silence(self) -> bool:
        """The server was given its time, and took it."""
        return self.code is Code.DEADLINE_EXCEEDED

    @property
    def is_compacted(self) -> bool:
        return self.code is Code.OUT_OF_RANGE

    @property
    def token_refused(self) -> bool:
        """The token of an earlier login counts no more."""
        return self.code is Code.UNAUTHENTICATED or "revision of auth store is old" in self.text

    def for_user(self, url: str) -> DatastoreError:
        """The error to raise; its sentence names the store."""
        where = f"datastore {url}"
        match self.code:
            case Code.UNAVAILABLE if "ssl" in self.text.lower() or "certificate" in self.text.lower():
                return Unavailable(f"{where}: no secure connection: {self.text}; see the CA, certificate and key files")
            case Code.DEADLINE_EXCEEDED:
                return Unavailable(f"{where} does not answer: no reply in time")
            case code if code in _RETRIED_CODES:
                return Unavailable(f"{where} does not answer: {self.text}")
            case Code.NOT_FOUND:
                return NotFound(f"{where}: {self.text}")
            case Code.RESOURCE_EXHAUSTED:
                return DatastoreError(f"{where} takes no more: {self.text}")
            case Code.PERMISSION_DENIED:
                return DatastoreError(f"{where}: permission denied: the user's role does not cover this key")
            case Code.UNAUTHENTICATED:
                return DatastoreError(f"{where}: not logged in: {self.text}")
            case Code.UNIMPLEMENTED:
                return DatastoreError(f"{where}: what answers there is no etcd of version 3: {self.text}")
        if "authentication failed" in self.text:
            return DatastoreError(f"{where}: wrong user or password")
        if "user name is empty" in self.text:
            return DatastoreError(f"{where}: it wants a user and a password, and none is configured")
        return DatastoreError(f"{where}: {self.text}")


def rejected(error: grpc.aio.AioRpcError) -> Rejected:
    return Rejected(error.code(), error.details() or "")
