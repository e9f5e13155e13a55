"""What BIRD 2.0.12 really says, and what we make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.bgp.replies import (
    Channel,
    Line,
    Protocol,
    Status,
    parse_file,
    parse_line,
    parse_protocols,
    parse_status,
    parse_symbol,
)

REPLIES = Path(__file__).parent / "replies"
STATUS = (REPLIES / "show-status.txt").read_text()
PROTOCOLS = (REPLIES / "show-protocols-all.txt").read_text()


def lines(text: str) -> list[Line]:
    reply: list[Line] = []
    for raw in text.splitlines():
        reply.append(parse_line(raw, reply[-1] if reply else None))
    return reply


def test_only_the_line_with_a_space_after_its_code_is_the_last() -> None:
    reply = lines("1011-a\n b\n1012-\n0013 end")
    assert reply == [Line(1011, "a"), Line(1011, "b"), Line(1012, ""), Line(13, "end", last=True)]


@pytest.mark.parametrize(
    ("raw", "refused"), [("8002 no", True), ("9001 no", True), ("0003 yes", False), ("1000 x", False)]
)
def test_codes_from_8000_on_are_refusals(raw: str, refused: bool) -> None:
    assert parse_line(raw, None).refused is refused


@pytest.mark.parametrize("raw", ["", " continued from nothing", "12 short", "HTTP/1.1 400 Bad Request", "0001"])
def test_what_is_not_bird_is_an_error(raw: str) -> None:
    with pytest.raises(ValueError, match="not a reply of BIRD"):
        parse_line(raw, None)


def test_status() -> None:
    assert parse_status(lines(STATUS)) == Status(
        version="2.0.12",
        router_id="10.0.0.1",
        last_reboot="2026-11-24 04:14:50.174",
        last_reconfiguration="2026-11-24 04:15:11.003",
        recovering=True,
    )


def test_status_without_recovery() -> None:
    assert not parse_status(lines("1000-BIRD 2.0.12\n0013 Daemon is up and running")).recovering


def test_protocols() -> None:
    assert parse_protocols(lines(PROTOCOLS)) == (
        Protocol(name="device1", kind="Device", state="up", since="2026-11-24 04:08:29.514"),
        Protocol(
            name="kernel4",
            kind="Kernel",
            state="up",
            since="2026-11-24 04:08:29.514",
            imported=7,
            exported=3,
            channels=(Channel("ipv4", "UP"),),
        ),
        Protocol(
            name="Mesh_10_0_0_2",
            kind="BGP",
            state="up",
            since="2026-11-24 04:08:30.100",
            info="Established",
            neighbor="10.0.0.2",
            neighbor_as=64512,
            imported=5,
            exported=2,
            channels=(Channel("ipv4", "UP"),),
        ),
        Protocol(
            name="Mesh_10_0_0_3",
            kind="BGP",
            state="start",
            since="2026-11-24 04:08:29.514",
            info="Connect       Socket: No route to host",
            neighbor="10.0.0.3",
            neighbor_as=64512,
            channels=(Channel("ipv4", "DOWN"),),
        ),
        Protocol(
            name="Mesh_10_0_0_4",
            kind="BGP",
            state="down",
            since="04:08:29",
            neighbor="10.0.0.4",
            neighbor_as=64512,
        ),
    )


def test_a_reply_without_protocols_is_empty() -> None:
    assert parse_protocols(lines("2002-Name Proto Table State Since Info\n0000 ")) == ()


def test_a_protocol_row_of_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a protocol of BIRD"):
        parse_protocols(lines("1002-lonely\n0000 "))


@pytest.mark.parametrize(
    ("reply", "defined"),
    [
        ("1010 tortie_ab\tconstant", True),
        ("1010 tortie_ab\tundefined", False),
        ("1010 tortie_abc\tconstant", False),
        ("1010 tortie_ab\tprotocol", False),
    ],
)
def test_symbol(reply: str, defined: bool) -> None:
    assert parse_symbol(lines(reply), "tortie_ab") is defined


def test_file_read_by_configure() -> None:
    assert parse_file(lines("0002-Reading configuration from /var/lib/x.conf\n0003 Reconfigured")) == "/var/lib/x.conf"
    assert parse_file(lines("0006 Reconfiguration ignored, shutting down")) == ""


def test_the_filters_of_a_channel() -> None:
    reply = lines(
        "1002-kernel1 Kernel master4 up 04:08:29\n1006-  Channel ipv4\n     State:          UP\n"
        "     Input filter:   tortie_from_kernel4\n     Output filter:  (unnamed)\n0000 "
    )
    [kernel] = parse_protocols(reply)
    assert kernel.channels == (Channel("ipv4", "UP", "tortie_from_kernel4", "(unnamed)"),)
