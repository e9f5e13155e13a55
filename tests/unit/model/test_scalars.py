"""Numbers, durations, protocols and ports as documents write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model.scalars import AsNumber, Duration, Order, Port, Protocol, float_text


class TestAsNumber:
    @pytest.mark.parametrize(
        ("written", "number"),
        [
            (0, 0),
            (64512, 64512),
            ("65001", 65001),
            ("1.10", 65546),
            (4294967295, 4294967295),
            ("65535.65535", 4294967295),
        ],
    )
    def test_reads(self, written: object, number: int) -> None:
        assert AsNumber.from_json(written) == number

    @pytest.mark.parametrize(
        "written",
        [-1, 4294967296, "4294967296", "1.65536", "65536.1", "1.2.3", "", "x", " 1", "\uff11", 1.0, True, None, []],
    )
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be an AS number"):
            AsNumber.from_json(written)

    def test_is_written_as_a_number(self) -> None:
        assert AsNumber.to_json(AsNumber.from_json("1.10")) == 65546


class TestDuration:
    @pytest.mark.parametrize(
        ("written", "milliseconds", "canonical"),
        [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "1m30s"),
            ("1m30s", 90_000, "1m30s"),
            ("2m", 120_000, "2m0s"),
            ("24h", 86_400_000, "24h0m0s"),
            ("500ms", 500, "500ms"),
            ("1.5s", 1_500, "1s500ms"),
            (".5m", 30_000, "30s"),
            ("1h0.5s", 3_600_500, "1h0m0s500ms"),
            ("1000us", 1, "1ms"),
            ("1000µs", 1, "1ms"),
            ("1000000ns", 1, "1ms"),
        ],
    )
    def test_reads_and_writes(self, written: str, milliseconds: int, canonical: str) -> None:
        duration = Duration.from_json(written)
        assert duration == timedelta(milliseconds=milliseconds)
        assert Duration.to_json(duration) == canonical

    @pytest.mark.parametrize(
        "written", ["", "1", "s", "1 s", "-1s", "+1s", "1d", "1s!", "1,5s", 30, None, "9" * 400 + "h"]
    )
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be"):
            Duration.from_json(written)

    @given(st.integers(0, 10**15))
    def test_survives_its_text(self, microseconds: int) -> None:
        duration = Duration(microseconds=microseconds)
        assert Duration.from_json(str(duration)) == duration


class TestProtocol:
    @pytest.mark.parametrize(
        ("written", "number"),
        [("TCP", 6), ("UDP", 17), ("ICMP", 1), ("ICMPv6", 58), ("SCTP", 132), ("UDPLite", 136), (6, 6), (255, 255)],
    )
    def test_reads(self, written: object, number: int) -> None:
        assert Protocol.from_json(written) == number

    @pytest.mark.parametrize("written", ["tcp", "6", "", 0, 256, 6.0, True, None])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be TCP, UDP"):
            Protocol.from_json(written)

    def test_is_written_by_name_where_it_has_one(self) -> None:
        assert Protocol.to_json(Protocol(6)) == "TCP"
        assert Protocol.to_json(Protocol(89)) == 89


class TestPort:
    @pytest.mark.parametrize(
        ("written", "port", "canonical"),
        [
            (80, Port(80), 80),
            ("80", Port(80), 80),
            ("8000:8080", Port(8000, 8080), "8000:8080"),
            ("80:80", Port(80), 80),
            ("http", Port(0, 0, "http"), "http"),
            ("http-2.x_y", Port(0, 0, "http-2.x_y"), "http-2.x_y"),
        ],
    )
    def test_reads_and_writes(self, written: object, port: Port, canonical: object) -> None:
        assert Port.from_json(written) == port
        assert Port.to_json(port) == canonical

    @pytest.mark.parametrize(
        "written", [-1, 65536, "65536", "2:1", "1:65536", "999999", "a b", "", "a" * 129, True, 1.0, None]
    )
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be a port"):
            Port.from_json(written)


class TestOrder:
    @pytest.mark.parametrize(
        ("written", "canonical", "shown"),
        [
            (0, 0, "0"),
            (100, 100, "100"),
            (100.0, 100, "100"),
            (0.5, 0.5, "0.5"),
            (-3, -3, "-3"),
            (999999, 999999, "999999"),
            (1000000, 1000000, "1e+06"),
            (1234567.5, 1234567.5, "1.2345675e+06"),
            (1e300, 1e300, "1e+300"),
        ],
    )
    def test_reads_and_writes(self, written: float, canonical: float, shown: str) -> None:
        order = Order.from_json(written)
        assert Order.to_json(order) == canonical
        assert type(Order.to_json(order)) is type(canonical)
        assert str(order) == shown

    @pytest.mark.parametrize("written", ["1", True, None, [], 2**1024])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be a number"):
            Order.from_json(written)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_float_means_it(value: float) -> None:
    assert float(float_text(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "0.0001"), (1e-5, "1e-05"), (1.5e-7, "1.5e-07"), (0.1, "0.1"), (1e20, "1e+20"), (-0.0, "-0")],
)
def test_the_text_of_a_float_is_that_of_go(value: float, text: str) -> None:
    assert float_text(value) == text
