"""Values of IPAM: read whole, written whole, and refused where others would crash on them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.model.documents import json_values
from tortie.errors import InvalidResource
from tortie.model.allocation import (
    NO_CONFIG,
    Affinity,
    Attribute,
    Block,
    Handle,
    IpamConfig,
    Stored,
    from_store,
    released_after,
    to_store,
)

BLOCK: dict[str, Any] = {
    "cidr": "10.65.0.20/30",
    "affinity": "host:node-1",
    "affinity_claim_time": "2026-08-22T13:33:20Z",
    "allocations": [0, 1, None, 2],
    "unallocated": [2],
    "attributes": [
        {
            "handle_id": "web-net.3f2a9c41d7be",
            "secondary": {"node": "node-1", "timestamp": "2026-08-22 13:33:21.5 +0000 UTC"},
        },
        {
            "handle_id": "openstack.a429fb36",
            "secondary": {"node": "node-2", "namespace": "openstack", "pod": "vm-1"},
        },
        {"releasedAt": "2026-08-22T13:40:00Z"},
    ],
    "sequenceNumber": 1787405600123456792,
    "sequenceNumberForAllocation": {"0": 1787405600123456789, "1": 1787405600123456790, "3": 1787405600123456791},
    "deleted": False,
}
EMPTY_BLOCK: dict[str, Any] = {
    "cidr": "fd00:65::/126",
    "affinity": None,
    "allocations": [None] * 4,
    "unallocated": [0, 1, 2, 3],
    "attributes": None,
    "sequenceNumber": 2**64 - 1,
    "sequenceNumberForAllocation": None,
    "deleted": False,
}
AFFINITY = {"state": "confirmed", "deleted": False}
HANDLE = {"block": {"10.65.0.0/26": 1, "fd00:65::/122": 1}, "deleted": False}
CONFIG = {
    "strict_affinity": True,
    "auto_allocate_blocks": True,
    "maxBlocksPerHost": 4,
    "kubeVirtVMAddressPersistence": "Enabled",
    "ipCooldownSeconds": 60,
}
EXAMPLES = [(Block, BLOCK), (Affinity, AFFINITY), (Handle, HANDLE), (IpamConfig, CONFIG)]
KINDS = [Block, Affinity, Handle, IpamConfig]


def read(kind: Any, document: object) -> Any:
    return from_store(kind, json.dumps(document).encode(), 7)


def written(stored: Stored[Any]) -> Any:
    return json.loads(to_store(stored))


@pytest.mark.parametrize(("kind", "document"), EXAMPLES)
class TestEveryValue:
    def test_a_rewrite_changes_nothing(self, kind: Any, document: dict[str, Any]) -> None:
        assert written(read(kind, document)) == document
        assert read(kind, document).revision == 7

    def test_unknown_fields_survive(self, kind: Any, document: dict[str, Any]) -> None:
        newer = document | {"newField": {"deep": [2**63 + 1, None]}}
        assert written(read(kind, newer)) == newer


class TestBlock:
    def test_fields(self) -> None:
        block = read(Block, BLOCK).value
        assert block.cidr == ip_network("10.65.0.20/30")
        assert (block.size, block.owner) == (4, ("host", "node-1"))
        assert [attribute.handle for attribute in block.attributes] == [
            "web-net.3f2a9c41d7be",
            "openstack.a429fb36",
            "",
        ]
        assert block.sequence_number == 1787405600123456792
        assert block.sequence_number_for_allocation["3"] == 1787405600123456791

    def test_a_brand_new_block_has_null_for_empty_lists(self) -> None:
        stored = read(Block, EMPTY_BLOCK)
        assert (stored.value.attributes, stored.value.owner) == ((), None)
        assert written(stored) == EMPTY_BLOCK | {"attributes": [], "sequenceNumberForAllocation": {}}

    def test_a_change_keeps_what_is_not_known_of_the_rest(self) -> None:
        newer = json.loads(json.dumps(BLOCK))
        newer["attributes"][1]["newField"] = "x"
        stored = read(Block, newer)
        block = stored.value
        freed = replace(
            block,
            allocations=(None, 0, None, 1),
            unallocated=(2, 0),
            attributes=block.attributes[1:],
            sequence_number=block.sequence_number + 1,
        )
        after = written(Stored(value=freed, document=stored.document))
        assert after["attributes"] == newer["attributes"][1:]
        assert after["sequenceNumber"] == 1787405600123456793
        assert after["allocations"] == [None, 0, None, 1]

    def test_a_block_without_owner_says_so(self) -> None:
        stored = read(Block, BLOCK)
        given_up = replace(stored.value, affinity="", affinity_claim_time="")
        after = written(Stored(value=given_up, document=stored.document))
        assert after["affinity"] is None
        assert "affinity_claim_time" not in after

    def test_a_new_block_is_written_as_calico_writes_it(self) -> None:
        block = Block(
            cidr=ip_network("10.65.0.0/31"), allocations=(None, None), unallocated=(0, 1), sequence_number=2**60 + 1
        )
        assert written(Stored(value=block)) == {
            "cidr": "10.65.0.0/31",
            "affinity": None,
            "allocations": [None, None],
            "unallocated": [0, 1],
            "attributes": [],
            "sequenceNumber": 2**60 + 1,
            "sequenceNumberForAllocation": {},
            "deleted": False,
        }

    def test_numbers_and_times_stay_whole(self) -> None:
        exact = BLOCK | {
            "attributes": [*BLOCK["attributes"][:2], {"releasedAt": "2026-08-22T13:40:00.123456789Z"}],
            "sequenceNumber": 2**64 - 1,
            "sequenceNumberForAllocation": {"0": 2**63 + 1, "3": 2**53 + 1},
            "hostAffinity": "node-1",
        }
        assert written(read(Block, exact)) == exact

    def test_an_old_handle_is_cut_at_a_carriage_return(self) -> None:
        assert Attribute(handle_id="ipip-tunnel-addr-node-1\r\n").handle == "ipip-tunnel-addr-node-1"

    def test_released_in_the_future(self) -> None:
        block = read(Block, BLOCK).value
        assert list(released_after(block, datetime(2026, 8, 22, 13, 40, tzinfo=UTC))) == []
        (problem,) = released_after(block, datetime(2026, 8, 22, 13, 39, 59, tzinfo=UTC))
        assert problem.path == "attributes[2].releasedAt"


BROKEN: list[tuple[dict[str, Any], list[str]]] = [
    ({"cidr": "10.65.0.21/30"}, ["cidr"]),
    ({"cidr": "10.65.0.0/19"}, ["cidr"]),
    ({"cidr": "::/0"}, ["cidr"]),
    ({"cidr": None}, ["cidr"]),
    ({"allocations": [0, 1, None]}, ["allocations", "attributes[2]"]),
    ({"allocations": [0, 1, None, 3]}, ["allocations[3]", "attributes[2]"]),
    ({"allocations": [0, 1, None, -1]}, ["allocations[3]"]),
    ({"allocations": [0, 1, 2, 2]}, ["unallocated[0]"]),
    ({"unallocated": []}, ["allocations[2]"]),
    ({"unallocated": [2, 2]}, ["unallocated[1]"]),
    ({"unallocated": [2, 4]}, ["unallocated[1]"]),
    ({"unallocated": [2, 0]}, ["unallocated[1]"]),
    ({"attributes": BLOCK["attributes"] + [{}]}, ["attributes[3]"]),
    ({"attributes": [*BLOCK["attributes"][:2], {"releasedAt": "soon"}]}, ["attributes[2].releasedAt"]),
    ({"affinity_claim_time": "2026-08-22"}, ["affinity_claim_time"]),
    ({"sequenceNumber": 2**64}, ["sequenceNumber"]),
    ({"sequenceNumber": 1.5}, ["sequenceNumber"]),
    (
        {"sequenceNumberForAllocation": {"4": 1, "x": 1, "\u0663": 1, "1" * 5000: 1}},
        [
            "sequenceNumberForAllocation.4",
            "sequenceNumberForAllocation.x",
            "sequenceNumberForAllocation.\u0663",
            "sequenceNumberForAllocation." + "1" * 5000,
        ],
    ),
]


@pytest.mark.parametrize(("fields", "wrong"), BROKEN)
def test_a_broken_block_is_refused_with_its_places(fields: dict[str, Any], wrong: list[str]) -> None:
    with pytest.raises(InvalidResource) as caught:
        read(Block, BLOCK | fields)
    assert sorted(problem.path for problem in caught.value.problems) == sorted(wrong)


class TestAffinity:
    @pytest.mark.parametrize(
        ("data", "confirmed"),
        [
            (b"", True),
            (b"{}", True),
            (b'{"state":""}', True),
            (b'{"state":"confirmed"}', True),
            (b'{"state":"pending"}', False),
            (b'{"state":"pendingDeletion"}', False),
        ],
    )
    def test_what_counts_as_confirmed(self, data: bytes, confirmed: bool) -> None:
        assert from_store(Affinity, data).value.is_confirmed is confirmed

    def test_an_unknown_state_is_refused(self) -> None:
        with pytest.raises(InvalidResource, match="must be one of confirmed, pending, pendingDeletion"):
            read(Affinity, {"state": "lost"})


def test_a_handle_names_blocks() -> None:
    with pytest.raises(InvalidResource, match="pool-a"):
        read(Handle, {"block": {"pool-a": 1}})


class TestConfig:
    def test_without_a_key_blocks_are_taken_when_needed(self) -> None:
        assert (NO_CONFIG.strict_affinity, NO_CONFIG.auto_allocate_blocks, NO_CONFIG.max_blocks_per_host) == (
            False,
            True,
            0,
        )

    def test_a_key_that_does_not_say_so_forbids_it(self) -> None:
        assert read(IpamConfig, {"strict_affinity": True}).value.auto_allocate_blocks is False

    def test_false_and_zero_are_left_out(self) -> None:
        assert written(Stored(value=IpamConfig(strict_affinity=True))) == {"strict_affinity": True}


@given(st.sampled_from(KINDS), st.binary(max_size=64) | json_values.map(msgspec.json.encode))
def test_no_bytes_raise_anything_else(kind: Any, data: bytes) -> None:
    try:
        stored = from_store(kind, data)
    except InvalidResource:
        return
    assert from_store(kind, to_store(stored)).value == stored.value


def test_brackets_without_end() -> None:
    with pytest.raises(InvalidResource, match="nested too deeply"):
        from_store(Block, b"[" * 100_000)
