"""`tortie lab`: the words of the command line. What they do is in the modules they call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import click

from tortie.errors import UsageError
from tortie.lab import down as teardown
from tortie.lab import topology as topologies
from tortie.lab.printing import columns, stopwatch
from tortie.lab.process import LabError
from tortie.lab.topology import Topology

SHIPPED = resources.files("tortie.lab") / "topologies"


class _Command(click.Command):
    """Checks for root where something is done, so that everybody can read the help."""

    def invoke(self, context: click.Context) -> Any:
        if os.geteuid() != 0:
            raise click.ClickException("a lab makes network namespaces: run this as root")
        return super().invoke(context)


class _Group(click.Group):
    command_class = _Command


@click.group(cls=_Group)
def lab() -> None:
    """Hosts, workloads and routers in network namespaces, for trying things out.

    \b
    tortie lab up classic                     build the lab that comes with tortie
    tortie lab up my-topology.yaml            build your own
    tortie lab exec classic web21 -- ping -c1 10.65.0.24
    tortie lab down classic                   remove it, whatever state it is in
    """


@lab.command()
@click.argument("topology")
@click.option("--name", help="Call the lab so, instead of the name in the file: several of one kind side by side.")
@click.option("--wait", "wait_s", default=15.0, show_default=True, help="Seconds to wait for all routes; 0: none.")
def up(topology: str, name: str | None, wait_s: float) -> None:
    """Build a lab from a TOPOLOGY file, or one that comes with tortie.

    Exit code 1 with the lab left running means that after --wait some host did not know some workload.
    """
    from tortie.lab.up import up as build

    wanted = _read(topology, name)
    progress = stopwatch()
    lacking = asyncio.run(build(wanted, progress, wait_s))
    progress(f"lab {wanted.name} is up; see it with: tortie lab status {wanted.name}")
    if lacking and wait_s:
        raise LabError(
            f"lab {wanted.name} is up, but after {wait_s:g} s there are routes missing: "
            + "; ".join(f"on {member} to {', '.join(addresses)}" for member, addresses in lacking.items())
        )


@lab.command()
@click.argument("labs", metavar="LAB...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Remove all labs.")
def down(labs: Sequence[str], every: bool) -> None:
    """Remove labs, by name or topology file: processes, namespaces, mounts and files, also after a crash."""
    if bool(labs) == every:
        raise UsageError("name the labs to remove, or give --all")
    for name in teardown.labs() if every else [_name(one) for one in labs]:
        click.echo(f"lab {name} removed" if teardown.down(name) else f"lab {name}: nothing was there")


@lab.command()
@click.argument("name", metavar="[LAB]", required=False)
def status(name: str | None) -> None:
    """Show a lab: hosts, processes, sessions, workloads; without a name, which labs there are.

    Exit code 1 if anything of it is not as it should be.
    """
    from tortie.lab.state import read_state

    if name is None:
        click.echo("\n".join(teardown.labs()) or "there are no labs")
        return
    state = asyncio.run(read_state(_name(name)))
    rows = [["HOST", "ADDRESSES", "AGENT", "BIRD", "SESSIONS", "PROBLEMS"]]
    for member in state.members:
        up = sum(word == "Established" for word in member.sessions.values())
        rows.append(
            [
                member.name,
                ",".join(member.addresses),
                str(member.processes.get("agent", "-")),
                str(member.processes.get("bird", "-")),
                f"{up}/{len(member.sessions)}",
                "; ".join(member.problems) or "none",
            ]
        )
    click.echo(columns(rows))
    rows = [["WORKLOAD", "HOST", "ADDRESSES", "BEHIND", "PROBLEMS"]]
    for one in state.workloads:
        rows.append([one.name, one.host, ",".join(one.addresses), one.kind, "; ".join(one.problems) or "none"])
    click.echo("\n" + columns(rows))
    raise SystemExit(0 if state.well else 1)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="LAB")
@click.argument("member")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, member: str, command: Sequence[str]) -> None:
    """Run a COMMAND in a host, router, machine, workload or the fabric of a lab.

    \b
    tortie lab exec classic node125 -- route -n
    tortie lab exec classic node125 -- tortie status
    """
    from tortie.lab.enter import Member
    from tortie.lab.state import load

    target = Member(load(_name(name)), member)
    if not target.is_guest:
        target.become(command)
    output = asyncio.run(target.run(command, timeout_s=3600))
    click.echo(output.text, nl=False)
    raise SystemExit(output.code)


@lab.command()
@click.argument("name", metavar="LAB")
@click.argument("member")
@click.option("-i", "--interface", help="Default: eth0; of fabric and router the first.")
@click.option("-c", "--count", type=int, help="End after so many packets.")
@click.argument("expression", nargs=-1)
def capture(name: str, member: str, interface: str | None, count: int | None, expression: Sequence[str]) -> None:
    """Show the packets of a member with tcpdump, Ethernet headers included.

    \b
    tortie lab capture classic fabric -c 2 icmp
    """
    from tortie.lab.enter import Member
    from tortie.lab.state import load

    topology = load(_name(name))
    place = Member(topology, member)
    limit = ["-c", str(count)] if count else []
    place.become(["tcpdump", "-l", "-n", "-e", "-i", interface or place.interface, *limit, *expression])


@lab.command()
@click.option("--keep", is_flag=True, envvar="KEEP", help="Leave the lab running; also KEEP=1.")
def demo(keep: bool) -> None:
    """Build the classic lab, prove that it does what it should, remove it.

    Exit code 1, and a list of what is wrong, if anything is not as it must be.
    """
    from tortie.lab.demo import run

    raise SystemExit(0 if asyncio.run(run(keep)) else 1)


@lab.command("fetch-kernel")
def fetch_kernel() -> None:
    """Download the kernel that QEMU guests boot (Debian's for clouds); nothing is installed."""
    from tortie.lab import guest

    if guest.has_kernel():
        click.echo(f"there is one in {guest.CACHE}")
    else:
        click.echo(f"kernel {guest.fetch_kernel()} is in {guest.CACHE}")


def _read(source: str, name: str | None) -> Topology:
    """The topology of a file, or the shipped one of that name."""
    shipped = SHIPPED / f"{source}.yaml"
    file = Path(source) if _is_file(source) or not shipped.is_file() else shipped
    try:
        topology = topologies.parse(file.read_text(), source)
    except FileNotFoundError:
        known = ", ".join(sorted(entry.name.removesuffix(".yaml") for entry in SHIPPED.iterdir()))
        raise UsageError(f"there is no file {source}, and of the topologies that come with tortie: {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"topology {source} cannot be read: {error}") from None
    return topologies.renamed(topology, name) if name else topology


def _name(source: str) -> str:
    """The lab that the user means by a name or by a topology file."""
    return _read(source, None).name if _is_file(source) else source


def _is_file(source: str) -> bool:
    return "/" in source or source.endswith((".yaml", ".yml"))
