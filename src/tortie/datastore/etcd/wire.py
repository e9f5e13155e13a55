"""The messages and methods of etcd's API, version 3, as far as tortie speaks it: a table of facts.

protobuf makes the classes from the table when this module is loaded, so there is neither generated code nor a
compiler for it. Numbers and names are those of etcd's published protocol (api/etcdserverpb/rpc.proto,
api/mvccpb/kv.proto). Enumerations are plain numbers on the wire and here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tortie.datastore.api import Item

_PACKAGE = "tortie.etcd"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "enum": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "uint64": _FIELD.TYPE_UINT64,
}

# Message -> its fields as "number name type"; a star makes a field a list, a bar one of a choice.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "Header": ("1 cluster_id uint64", "2 member_id uint64", "3 revision int64", "4 raft_term uint64"),
    "KeyValue": (
        *("1 key bytes", "2 create_revision int64", "3 mod_revision int64"),
        *("4 version int64", "5 value bytes", "6 lease int64"),
    ),
    "Event": ("1 type enum", "2 kv KeyValue"),
    "RangeRequest": (
        *("1 key bytes", "2 range_end bytes", "3 limit int64", "4 revision int64"),
        *("7 serializable bool", "8 keys_only bool", "9 count_only bool"),
    ),
    "RangeResponse": ("1 header Header", "2 kvs KeyValue*", "3 more bool", "4 count int64"),
    "PutRequest": ("1 key bytes", "2 value bytes", "3 lease int64"),
    "DeleteRangeRequest": ("1 key bytes", "2 range_end bytes"),
    "RequestOp": ("1 range RangeRequest|", "2 put PutRequest|", "3 delete DeleteRangeRequest|"),
    "ResponseOp": ("1 range RangeResponse|",),
    "Compare": ("1 result enum", "2 target enum", "3 key bytes", "6 mod_revision int64|"),
    "TxnRequest": ("1 compare Compare*", "2 success RequestOp*", "3 failure RequestOp*"),
    "TxnResponse": ("1 header Header", "2 succeeded bool", "3 responses ResponseOp*"),
    "WatchCreateRequest": ("1 key bytes", "2 range_end bytes", "3 start_revision int64", "4 progress_notify bool"),
    "WatchRequest": ("1 create WatchCreateRequest|",),
    "WatchResponse": (
        *("1 header Header", "2 watch_id int64", "3 created bool", "4 canceled bool"),
        *("5 compact_revision int64", "6 cancel_reason string", "11 events Event*"),
    ),
    "LeaseGrantRequest": ("1 ttl_s int64", "2 id int64"),
    "LeaseGrantResponse": ("1 header Header", "2 id int64", "3 ttl_s int64", "4 error string"),
    "LeaseKeepAliveRequest": ("1 id int64",),
    "LeaseKeepAliveResponse": ("1 header Header", "2 id int64", "3 ttl_s int64"),
    "AuthenticateRequest": ("1 name string", "2 password string"),
    "AuthenticateResponse": ("1 header Header", "2 token string"),
}

# Values of `Event.type`, `Compare.result` and `Compare.target`.
DELETED = 1
EQUAL = 0
MOD_REVISION = 2


def key_range(prefix: str) -> dict[str, bytes]:
    """The fields of a request about all keys that begin with the prefix; a zero byte is the first and the last end."""
    key = prefix.encode()
    if not key:
        return {"key": b"\0", "range_end": b"\0"}
    return {"key": key, "range_end": key[:-1] + bytes((key[-1] + 1,))}


def item(found: Any) -> Item:
    """Of a `KeyValue`."""
    return Item(found.key.decode(), found.value, found.mod_revision, found.create_revision, found.lease)


class Method(NamedTuple):
    """A remote procedure: its path, and the classes of what goes and what comes."""

    path: str
    request: Any
    response: Any


def _field(text: str) -> descriptor_pb2.FieldDescriptorProto:
    number, name, kind = text.split()
    base = kind.rstrip("*|")
    field = _FIELD(name=name, number=int(number))
    field.label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
    if base in _SCALARS:
        field.type = _SCALARS[base]
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{base}"
    if kind.endswith("|"):
        field.oneof_index = 0
    return field


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tortie/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        message.field.extend(map(_field, fields))
        if any(field.endswith("|") for field in fields):
            message.oneof_decl.add(name="choice")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASS = _classes()

Compare = _CLASS["Compare"]
DeleteRangeRequest = _CLASS["DeleteRangeRequest"]
PutRequest = _CLASS["PutRequest"]
RangeRequest = _CLASS["RangeRequest"]
RequestOp = _CLASS["RequestOp"]
TxnRequest = _CLASS["TxnRequest"]
WatchCreateRequest = _CLASS["WatchCreateRequest"]
WatchRequest = _CLASS["WatchRequest"]
LeaseGrantRequest = _CLASS["LeaseGrantRequest"]
LeaseKeepAliveRequest = _CLASS["LeaseKeepAliveRequest"]
AuthenticateRequest = _CLASS["AuthenticateRequest"]

RANGE = Method("/etcdserverpb.KV/Range", RangeRequest, _CLASS["RangeResponse"])
TXN = Method("/etcdserverpb.KV/Txn", TxnRequest, _CLASS["TxnResponse"])
WATCH = Method("/etcdserverpb.Watch/Watch", WatchRequest, _CLASS["WatchResponse"])
LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, _CLASS["LeaseGrantResponse"])
LEASE_KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", LeaseKeepAliveRequest, _CLASS["LeaseKeepAliveResponse"])
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", AuthenticateRequest, _CLASS["AuthenticateResponse"])
