"""The board as Prometheus metrics; rendered on demand, so nothing has to be kept in step.

Names begin with `tortie_` and end with their unit, what only grows with `_total`, as Prometheus has it. No label takes
more values than there are sessions of BGP, but `reason` of pending rows, which is bounded by `MOST_REASONS`.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tortie.intent.report import EndpointState
from tortie.status import LIMITS_S, Bird, Board, Vitals

MOST_REASONS = 10
OTHER = "other"

_Labelled = Iterable[tuple[tuple[str, ...], float]]


def render_metrics(board: Board) -> bytes:
    """The text of `/metrics`."""
    registry = CollectorRegistry()
    registry.register(_BoardCollector(board))
    return generate_latest(registry)


class _BoardCollector:
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        yield from _of_agent(self._board)
        yield from _of_kernel(self._board)
        yield from _of_datastore(self._board)
        yield from _of_bird(self._board.bird)


def _of_agent(board: Board) -> Iterator[Metric]:
    vitals = board.vitals
    yield _gauge("build_info", "1, with the agent's version.", ("version",), [((board.version,), 1)])
    yield _gauge("process_resident_memory_bytes", "Memory of the agent's process.", (), [((), vitals.resident_bytes)])
    yield _counter("process_cpu_seconds", "Processor time of the agent's process.", (), [((), vitals.processor_s)])
    started = round(time.time() - vitals.uptime_s)
    yield _gauge("process_start_time_seconds", "When the agent started, since the epoch.", (), [((), started)])
    yield _gauge("loop_lag_seconds", "Event loop delay.", (), [((), board.loop_lag_ms / 1000)])
    worst = vitals.loop_lag_worst_ms / 1000
    yield _gauge("loop_lag_worst_seconds", "Longest event loop delay of the last minute.", (), [((), worst)])
    yield _applied(vitals)
    text = "Times that the kernel was read back, by cause."
    yield _counter("resyncs", text, ("cause",), [((cause,), n) for cause, n in vitals.resyncs.items()])
    yield _gauge("problems", "Objects left out and settings that hurt.", (), [((), len(board.problems))])
    yield _gauge("drained", "1 while this host is drained.", (), [((), board.drained)])


def _applied(vitals: Vitals) -> Metric:
    text = "Time from a change that is taken in to its being in force; of stage resync, that of a reading back."
    found = HistogramMetricFamily("tortie_apply_seconds", text, labels=["stage"])
    for stage, taken in vitals.applied.items():
        limits = [(str(limit), float(n)) for limit, n in zip(LIMITS_S, taken.within, strict=True)]
        found.add_metric([stage], [*limits, ("+Inf", float(taken.count))], taken.sum_s)
    return found


def _of_kernel(board: Board) -> Iterator[Metric]:
    states = Tally(report.state for report in board.endpoints.values())
    by_state = [((state.value,), states[state]) for state in EndpointState]
    yield _gauge("endpoints", "Local workload endpoints by state.", ("state",), by_state)
    yield _gauge("rows_pending", "Kernel rows not yet as wanted.", (), [((), len(board.pending))])
    text = f"The same by reason; beyond the {MOST_REASONS} most frequent ones as {OTHER}."
    yield _gauge("rows_pending_by_reason", text, ("reason",), _by_reason(board))
    yield _counter("rows_written", "Kernel rows of routing written or deleted.", (), [((), board.writes)])
    yield _counter("policy_rows_written", "Kernel rows of policy written or deleted.", (), [((), board.policy_writes)])
    yield _counter("policy_repairs", "Repairs of what others changed of policy.", (), [((), board.policy_repairs)])
    text = "How long at most the last such change was in force."
    yield _gauge("policy_open_seconds", text, (), [((), board.policy_open_ms / 1000)])
    text = "Rows that others removed or changed, and that were put back, by table."
    yield _counter("repairs", text, ("table",), [((table,), n) for table, n in board.repaired.items()])
    backend = [((board.policy_backend,), 1)] if board.policy_backend else []
    yield _gauge("policy_backend_info", "1, with who enforces policy.", ("backend",), backend)
    text = "Revision whose policy holds for every packet."
    yield _gauge("policy_revision", text, (), [((), board.enforced_revision)])
    text = "Tracked connections that were cut, since policy denies them."
    yield _counter("connections_cut", text, (), [((), board.vitals.connections_cut)])
    dropped = board.vitals.dropped.items()
    yield _counter(
        "dropped_packets", "Packets dropped, by reason.", ("reason",), [((k,), n.packets) for k, n in dropped]
    )
    yield _counter("dropped_bytes", "Bytes of packets dropped.", ("reason",), [((k,), n.bytes) for k, n in dropped])


def _by_reason(board: Board) -> _Labelled:
    every = Tally(noted.reason for noted in board.pending)
    most = every.most_common(MOST_REASONS)
    rest = every.total() - sum(n for _, n in most)
    return [*(((reason,), n) for reason, n in most), *([((OTHER,), rest)] if rest else [])]


def _of_datastore(board: Board) -> Iterator[Metric]:
    yield _gauge("datastore_connected", "1 while the datastore answers.", (), [((), board.connected)])
    text = "How long the datastore has not answered, so how old what is in force may be; 0 while it answers."
    yield _gauge("datastore_stale_seconds", text, (), [((), board.vitals.datastore_stale_s)])
    yield _gauge("datastore_in_sync", "1 when the state of the datastore was in force once.", (), [((), board.in_sync)])
    yield _gauge("datastore_revision", "Revision in force.", (), [((), board.revision)])


def _of_bird(bird: Bird) -> Iterator[Metric]:
    yield _gauge("bird_running", "1 while BIRD answers.", (), [((), bird.running)])
    yield _gauge("bird_configured", "1 while BIRD runs the configuration that is wanted.", (), [((), bird.configured)])
    labels = ("session", "peer")
    of = [((each.name, each.address), each) for each in bird.sessions]
    up = [(key, each.state == "Established") for key, each in of]
    yield _gauge("bgp_session_established", "1 while the session is up.", labels, up)
    yield _gauge("bgp_prefixes_imported", "Prefixes taken from the peer.", labels, [(k, s.imported) for k, s in of])
    yield _gauge("bgp_prefixes_exported", "Prefixes told to the peer.", labels, [(k, s.exported) for k, s in of])


def _gauge(name: str, text: str, labels: tuple[str, ...], values: _Labelled) -> Metric:
    found = GaugeMetricFamily(f"tortie_{name}", text, labels=labels)
    for key, value in values:
        found.add_metric(key, value)
    return found


def _counter(name: str, text: str, labels: tuple[str, ...], values: _Labelled) -> Metric:
    found = CounterMetricFamily(f"tortie_{name}", text, labels=labels)
    for key, value in values:
        found.add_metric(key, value)
    return found
