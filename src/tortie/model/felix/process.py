"""The agent as a process: its health, logs, metrics, and what it may use of the machine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tortie.model.felix.types import WholeDuration
from tortie.model.scalars import Duration
from tortie.model.schema import Int64, LogSeverity, PortOrZero, Spec, any_case, written

LogPrefix = Annotated[str, written(r"^[a-zA-Z0-9%: /_-]*\Z", "must be of [a-zA-Z0-9%: /_-]")]
RateLimit = Annotated[
    str,
    written(
        r"^([1-9][0-9]{0,3}/(second|minute|hour|day)|)\Z", "must be 1 to 9999 a second, minute, hour or day: 100/minute"
    ),
]
ClientAuth = Annotated[
    str, any_case("NoClientCert", "RequireAndVerifyClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven")
]
FeatureOverrides = Annotated[
    str,
    written(r"^\s*([a-zA-Z0-9_]+=(true|false|)(,|\Z)|,)*\Z", "must be NAME=true or NAME=false, separated by commas"),
]
FeatureGates = Annotated[
    str, written(r"^\s*([a-zA-Z0-9_]+=[^=,]+(,|\Z)|,)*\Z", "must be NAME=value, separated by commas")
]
MetricsHost = Annotated[
    str, Meta(pattern=r"^([a-zA-Z0-9:._+-]{1,64}|)\Z", description="must be a host: 1 to 64 of [a-zA-Z0-9:._+-]")
]


PartName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_ -]+\Z", description="must be of [a-zA-Z0-9_ -]")]


class HealthTimeout(Spec, frozen=True, kw_only=True):
    """How long a part of the agent may be silent before it counts as dead."""

    name: PartName
    """The part, as the agent's health report calls it: letters, digits, blanks, `_` and `-`."""

    timeout: Duration
    """How long; 0s: for ever."""


class ProcessSettings(Spec, frozen=True, kw_only=True):
    """The agent as a process."""

    health_enabled: bool | None = None
    """Answers /liveness and /readiness over HTTP. Default: false."""

    health_host: str = ""
    """Where it answers. Default: localhost."""

    health_port: PortOrZero | None = None
    """Where it answers, 0 to 65535. Default: 9099."""

    health_timeout_overrides: tuple[HealthTimeout, ...] = ()
    """Other timeouts for parts of the agent. Default: none."""

    dataplane_watchdog_timeout: Duration | None = None
    """Deprecated: healthTimeoutOverrides. How long the data plane may be silent. Default: 1m30s."""

    log_action_rate_limit: RateLimit = ""
    """How many packets rules with action Log may log: 1 to 9999 a second, minute, hour or day, such as 100/minute.
    Default: no limit."""

    log_action_rate_limit_burst: Annotated[int, Meta(ge=1, le=9999)] | None = None
    """How many packets may exceed logActionRateLimit, 1 to 9999. Default: 5."""

    log_debug_filename_regex: str = ""
    """Debug logs only of source files whose names match this regular expression. Default: of all."""

    log_file_path: str = ""
    """The log file; none: no file. Default: /var/log/calico/felix.log."""

    log_prefix: LogPrefix = ""
    """How lines begin that rules with action Log write: [a-zA-Z0-9%: /_-]. Default: calico-packet."""

    log_severity_file: LogSeverity = ""
    """The least that the log file gets: Trace, Debug, Info, Warning, Error or Fatal. Default: Info."""

    log_severity_screen: LogSeverity = ""
    """The least that standard output gets: Trace, Debug, Info, Warning, Error or Fatal. Default: Info."""

    log_severity_sys: LogSeverity = ""
    """The least that syslog gets: Trace, Debug, Info, Warning, Error or Fatal. Default: Info."""

    prometheus_go_metrics_enabled: bool | None = None
    """Metrics of the Go runtime. Default: true."""

    prometheus_metrics_ca_file: str = ""
    """Who may have signed the certificates of those that ask for metrics. Default: none."""

    prometheus_metrics_cert_file: str = ""
    """The certificate of the metrics' port. Default: none, no TLS."""

    prometheus_metrics_client_auth: ClientAuth = ""
    """What is asked of clients: NoClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or
    RequireAndVerifyClientCert. Default: NoClientCert."""

    prometheus_metrics_enabled: bool | None = None
    """Shows metrics over HTTP. Default: false."""

    prometheus_metrics_host: MetricsHost = ""
    """Where it shows them. Default: every address."""

    prometheus_metrics_key_file: str = ""
    """The key of prometheusMetricsCertFile. Default: none."""

    prometheus_metrics_port: PortOrZero | None = None
    """Where it shows them, 0 to 65535. Default: 9091."""

    prometheus_process_metrics_enabled: bool | None = None
    """Metrics of the process. Default: true."""

    prometheus_wire_guard_metrics_enabled: bool | None = None
    """Metrics of WireGuard. Default: true."""

    usage_reporting_enabled: bool | None = None
    """Sends anonymous usage data to Calico's maker; tortie never does. Default: true."""

    usage_reporting_initial_delay: WholeDuration | None = None
    """When it sends them first. Default: 5m0s."""

    usage_reporting_interval: WholeDuration | None = None
    """How often it sends them. Default: 24h0m0s."""

    feature_detect_override: FeatureOverrides = ""
    """What the kernel can do, where it is found out wrongly: NAME=true or false, separated by commas. Default:
    nothing."""

    feature_gates: FeatureGates = ""
    """Unfinished features: NAME=value, separated by commas. Default: none."""

    go_gc_threshold: Int64 | None = None
    """Garbage collection at this growth of the heap, in percent; -1: never. Default: 40."""

    go_max_procs: Int64 | None = None
    """How many cores the process uses; -1: all. Default: -1."""

    go_memory_limit_mb: Int64 | None = None
    """How much memory the process should use, in MiB; -1: any. Default: -1."""

    debug_disable_log_dropping: bool | None = None
    """Waits for slow log files rather than lose lines. Default: false."""

    debug_host: str = ""
    """Where profiles are shown. Default: localhost."""

    debug_port: PortOrZero | None = None
    """Where profiles are shown. Default: nowhere."""

    debug_memory_profile_path: str = ""
    """Where a memory profile is written on a signal. Default: nowhere."""

    debug_simulate_calc_graph_hang_after: WholeDuration | None = None
    """Hangs after this time, for tests. Default: never."""

    debug_simulate_dataplane_apply_delay: WholeDuration | None = None
    """Delays every change of the data plane, for tests. Default: 0s."""

    debug_simulate_dataplane_hang_after: WholeDuration | None = None
    """Hangs after this time, for tests. Default: never."""
