"""`tortie attach` and `tortie detach`: asks the agent to connect a workload to this host, or to let it go."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click

from tortie.cli import agent_client
from tortie.cli.configuration import config_option, settings
from tortie.errors import UsageError

NAMED_NAMESPACES = Path("/run/netns")


@click.command()
@click.argument("name")
@click.option("--netns", metavar="NS", help="Its network namespace: name, path, or the pid of a process in it.")
@click.option("--tap", metavar="DEV", help="Its TAP device, which exists; for virtual machines.")
@click.option("--mac", metavar="MAC", default="", help="MAC of the guest; needed with --tap.")
@click.option("--address", "addresses", metavar="A[,A6]", multiple=True, required=True, help="IP address; repeatable.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the workload.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="Label of the endpoint; repeatable.")
@click.option("--profile", "profiles", metavar="PROFILE", multiple=True, help="Default projectcalico-default-allow.")
@click.option("--mtu", type=int, default=0, metavar="BYTES", help="Default: that of the uplink.")
@click.option("--wait", is_flag=True, help="For a TAP without carrier: wait until its guest is running.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds.")
@config_option
def attach(
    name: str,
    netns: str | None,
    tap: str | None,
    mac: str,
    addresses: Sequence[str],
    namespace: str,
    labels: Sequence[str],
    profiles: Sequence[str],
    mtu: int,
    wait: bool,
    timeout_s: float,
) -> None:
    """Connect workload NAME: its addresses are routed to it when this ends.

    \b
    tortie attach web --netns web --address 10.65.0.24
    tortie attach db --netns 4711 --address 10.65.0.25,2001:db8::25 --label role=db
    tortie attach vm1 --tap tapa429fb36-04 --mac fa:16:3e:5c:1b:02 --address 10.65.0.26

    With --netns a veth is made, and set up inside too: address, route, neighbour. A TAP whose guest is not running
    yet is accepted and `waiting for carrier`. Doing it again changes nothing; a failure undoes what was done.
    """
    if (netns is None) == (tap is None):
        raise UsageError("give either a network namespace (--netns) or a TAP device (--tap), and not both")
    request = {
        "name": name,
        "namespace": namespace,
        "mac": mac,
        "addresses": _words(addresses),
        "labels": dict(_label(text) for text in labels),
        "mtu": mtu,
        "wait": wait,
        "timeout_s": timeout_s,
    }
    current = settings()
    if current.node_named:
        request["node"] = current.node
    if netns is not None:
        request["netns"] = netns_path(netns)
    else:
        request["tap"] = tap
    if profiles:
        request["profiles"] = _words(profiles)
    began = time.monotonic()
    result = agent_client.post(current.api_socket, "/v1/attach", request, timeout_s)
    took_ms = 1000 * (time.monotonic() - began)
    for warning in result["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    done = "accepted" if result["waiting"] else "attached"
    where = " ".join([result["interface"], *result["addresses"]])
    click.echo(f"{namespace}/{name} {done}: {where} ({took_ms:.1f} ms)")
    if result["waiting"]:
        click.echo(result["waiting"])


@click.command()
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the workload.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds.")
@config_option
def detach(name: str, namespace: str, timeout_s: float) -> None:
    """Disconnect workload NAME: its routes are gone when this ends.

    \b
    tortie detach web

    Doing it again changes nothing.
    """
    request = {"name": name, "namespace": namespace, "timeout_s": timeout_s}
    current = settings()
    if current.node_named:
        request["node"] = current.node
    result = agent_client.post(current.api_socket, "/v1/detach", request, timeout_s)
    # An agent of the release before, which still runs, does not say.
    found = bool(result.get("detached", True))
    click.echo(f"{namespace}/{name} {'detached' if found else 'is not attached here'}")


def netns_path(text: str) -> str:
    """The absolute path of a network namespace: of a name as `ip netns` knows it, a path, or a process's pid."""
    if "/" in text:
        # The agent is another process: its own namespace is not the one that is meant.
        path = Path(text.replace("/proc/self/", f"/proc/{os.getpid()}/")).absolute()
    elif text.isdecimal() and not (NAMED_NAMESPACES / text).exists():
        path = Path("/proc", text, "ns", "net")
    else:
        path = NAMED_NAMESPACES / text
    if not path.exists():
        raise UsageError(f"there is no network namespace {text}: {path} does not exist")
    return str(path)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"label {text!r} is not KEY=VALUE")
    return key, value


def _words(texts: Sequence[str]) -> list[str]:
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]
