"""KubeControllersConfiguration: settings of Calico's Kubernetes controllers, which tortie keeps and does not act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from msgspec.structs import replace

from tortie.errors import Problem
from tortie.model.addresses import IPNetwork
from tortie.model.kind import NAME, Kind, with_status
from tortie.model.names import label_problems
from tortie.model.resource import Resource
from tortie.model.scalars import Duration
from tortie.model.schema import OptionalName, PortOrZero, Spec
from tortie.model.selector import Selector

NAME_OF_ALL = "default"

Switch = Literal["Enabled", "Disabled"]


class HostEndpointTemplate(Spec, frozen=True, kw_only=True):
    """What an automatic HostEndpoint is made from; it needs interfaceCIDRs or interfacePattern."""

    generate_name: OptionalName = ""
    """The end of the HostEndpoint's name."""

    interface_cidrs: tuple[IPNetwork, ...] = ()
    """The node's addresses within these prefixes are the endpoint's expected addresses."""

    interface_pattern: str = ""
    """A regular expression: each interface of the node whose name matches gets an endpoint."""

    labels: dict[str, str] = {}
    """Labels of the endpoint, which win over those of the node."""

    node_selector: Selector | None = None
    """Which Nodes, by their labels, get an endpoint. Default: all."""


class AutoHostEndpoint(Spec, frozen=True, kw_only=True):
    """HostEndpoints that the node controller makes."""

    auto_create: Switch | None = None
    """Whether every node gets HostEndpoints. Default: Disabled."""

    create_default_host_endpoint: Switch | None = None
    """Whether one of them stands for all interfaces. Default: Enabled."""

    templates: tuple[HostEndpointTemplate, ...] = ()
    """What others are made from."""


class NodeController(Spec, frozen=True, kw_only=True):
    """The controller that follows nodes: it takes away what a node that is gone left behind."""

    reconciler_period: Duration | None = None
    """How often everything is compared. Default: 5m."""

    sync_labels: Switch | None = None
    """Whether Nodes get the labels of Kubernetes' nodes. Default: Enabled."""

    host_endpoint: AutoHostEndpoint | None = None
    """Automatic HostEndpoints. Default: none."""

    leak_grace_period: Duration | None = None
    """How long an address without an owner stays; 0s: for ever. Default: 15m."""


class Controller(Spec, frozen=True, kw_only=True):
    """A controller that copies something of Kubernetes into the datastore."""

    reconciler_period: Duration | None = None
    """How often everything is compared. Default: 5m."""


class LoadBalancerController(Spec, frozen=True, kw_only=True):
    """The controller that gives services their addresses."""

    assign_ips: Literal["AllServices", "RequestedServicesOnly"] | None = None
    """Which services get an address. Default: AllServices."""


class MigrationController(Spec, frozen=True, kw_only=True):
    """The controller that renames policies of old versions."""

    enabled: Switch | None = None
    """Whether it runs. Default: Enabled."""


class Controllers(Spec, frozen=True, kw_only=True):
    """The controllers; an absent one does not run."""

    node: NodeController | None = None
    """Follows nodes."""

    policy: Controller | None = None
    """Copies network policies."""

    workload_endpoint: Controller | None = None
    """Copies labels of pods."""

    service_account: Controller | None = None
    """Copies service accounts, as Profiles."""

    namespace: Controller | None = None
    """Copies namespaces, as Profiles."""

    load_balancer: LoadBalancerController | None = None
    """Gives services their addresses."""

    policy_migration: MigrationController | None = None
    """Renames policies of old versions."""

    migration: MigrationController | None = None
    """The same, as some releases spell it."""


class KubeControllersConfigurationSpec(Spec, frozen=True, kw_only=True):
    """Settings of Calico's Kubernetes controllers; without Kubernetes nobody acts on them.

    Source: api/pkg/apis/projectcalico/v3/kubecontrollersconfig.go
    """

    log_severity_screen: Literal["None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"] | None = None
    """How much the controllers log. Default: Info."""

    health_checks: Switch | None = None
    """Whether they report their health. Default: Enabled."""

    etcd_v3_compaction_period: Duration | None = None
    """How often they compact etcd; 0s: never. Default: 10m."""

    prometheus_metrics_port: PortOrZero | None = None
    """Where they show their metrics; 0: nowhere. Default: 9094."""

    debug_profile_port: PortOrZero | None = None
    """Where they show profiles. Default: nowhere."""

    controllers: Controllers | None = None
    """Which controllers run, and how. Never absent in the store. Default: none."""


class KubeControllersConfigurationStatus(Spec, frozen=True, kw_only=True):
    """What the controllers report. Never absent, and often empty."""

    running_config: KubeControllersConfigurationSpec | None = None
    """The settings in force."""

    environment_vars: dict[str, str] = {}
    """The environment variables that changed them."""


def fill_in(
    configuration: Resource[KubeControllersConfigurationSpec],
) -> Resource[KubeControllersConfigurationSpec]:
    if configuration.spec.controllers is not None:
        return configuration
    return replace(configuration, spec=replace(configuration.spec, controllers=Controllers()))


def write_defaults(
    configuration: Resource[KubeControllersConfigurationSpec],
) -> Resource[KubeControllersConfigurationSpec]:
    spec = configuration.spec
    controllers = spec.controllers or Controllers()
    node, balancer, migration = controllers.node, controllers.load_balancer, controllers.policy_migration
    if node is not None and node.leak_grace_period is None:
        controllers = replace(controllers, node=replace(node, leak_grace_period=Duration(minutes=15)))
    if balancer is not None and balancer.assign_ips is None:
        controllers = replace(controllers, load_balancer=replace(balancer, assign_ips="AllServices"))
    if migration is not None and migration.enabled is None:
        controllers = replace(controllers, policy_migration=replace(migration, enabled="Enabled"))
    port = spec.prometheus_metrics_port
    spec = replace(
        spec,
        health_checks=spec.health_checks or "Enabled",
        prometheus_metrics_port=9094 if port is None else port,
        controllers=controllers,
    )
    return with_status(replace(configuration, spec=spec))


def rules(configuration: Resource[KubeControllersConfigurationSpec]) -> Iterator[Problem]:
    if configuration.key.name != NAME_OF_ALL:
        yield Problem("metadata.name", configuration.key.name, f"must be {NAME_OF_ALL}")
    controllers = configuration.spec.controllers
    if controllers is None or controllers.node is None or controllers.node.host_endpoint is None:
        return
    for index, template in enumerate(controllers.node.host_endpoint.templates):
        path = f"spec.controllers.node.hostEndpoint.templates[{index}]"
        if not template.interface_cidrs and not template.interface_pattern:
            yield Problem(path, "", "needs interfaceCIDRs or interfacePattern")
        try:
            re.compile(template.interface_pattern)
        except re.error as error:
            reason = f"is not a regular expression: {error}"
            yield Problem(f"{path}.interfacePattern", template.interface_pattern, reason)
        for problem in label_problems(template.labels):
            yield problem._replace(path=problem.path.replace("metadata", path, 1))


KIND = Kind(
    name="KubeControllersConfiguration",
    plural="kubecontrollersconfigurations",
    aliases=("kubecontrollersconfiguration", "kubecontrollersconfig", "kubecontrollersconfigs"),
    spec=KubeControllersConfigurationSpec,
    status=KubeControllersConfigurationStatus,
    columns=(NAME,),
    wide=(NAME,),
    on_read=fill_in,
    on_write=write_defaults,
    rules=rules,
)
