"""A real virtual machine on a TAP: it boots, configures itself and obeys."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.netns.lab.conftest import traces
from tortie.kernel import netns
from tortie.lab import guest
from tortie.lab.down import down
from tortie.lab.layout import Layout
from tortie.lab.process import LabError, Mark, Process, run, running, wait_until
from tortie.lab.topology import Tap, Workload

pytestmark = pytest.mark.skipif(bool(guest.missing()), reason=guest.missing() or "a guest can run")

VM = Workload(
    name="vm",
    host="host",
    addresses=("10.65.0.24", "2001:db8:65::24"),
    tap=Tap(interface="tap0", mac="fa:16:3e:00:00:24", gateway=("10.65.0.1/16",), guest="qemu"),
)


async def boot(lab: str) -> Layout:
    """A namespace that answers as the gateway by itself, since no agent is there to do it, and the guest on its TAP."""
    layout = Layout(lab)
    layout.member("vm").directory.mkdir(parents=True)
    netns.create(layout.namespace("host"))
    commands = [
        "tuntap add dev tap0 mode tap",
        "link set tap0 address ee:ee:ee:ee:ee:ee",
        "link set tap0 up",
        "addr add 10.65.0.1/16 dev tap0",
        "addr add fe80::ecee:eeff:feee:eeee/64 dev tap0 nodad",
        "addr add 2001:db8:65::1/64 dev tap0 nodad",
    ]
    text = "".join(f"{line}\n" for line in commands)
    await run(["ip", "-netns", layout.namespace("host"), "-batch", "-"], Mark(lab, "host", "ip"), text=text)
    await guest.boot(layout, VM)
    return layout


def qemus(lab: str) -> list[Process]:
    """The lab's virtual machines, without what only starts them."""
    return [each for each in running(lab) if Path(f"/proc/{each.pid}/exe").resolve().name.startswith("qemu")]


async def test_a_guest_reaches_its_gateway_and_gives_output_and_exit_code(lab_name: str) -> None:
    layout = await boot(lab_name)
    for argv in (["ping", "-c", "1", "-W", "5", "10.65.0.1"], ["ping6", "-c", "1", "-W", "5", "2001:db8:65::1"]):
        code, text = await guest.run_in_guest(layout, "vm", argv)
        assert code == 0, text
        assert "1 packets received" in text
    assert await guest.run_in_guest(layout, "vm", ["sh", "-c", "echo 'a  b'; echo c >&2; exit 7"]) == (7, "a  b\nc\n")
    _, text = await guest.run_in_guest(layout, "vm", ["ip", "addr", "show", "eth0"])
    assert "fa:16:3e:00:00:24" in text
    assert "inet 10.65.0.24/16" in text
    assert "inet6 2001:db8:65::24/128" in text
    # Many at a time are served one after the other, each with its own answer.
    answers = await asyncio.gather(*(guest.run_in_guest(layout, "vm", ["echo", str(n)]) for n in range(4)))
    assert answers == [(0, f"{n}\n") for n in range(4)]
    (qemu,) = running(lab_name)
    os.kill(qemu.pid, 9)
    with pytest.raises(LabError, match="vm: the guest does not answer"):
        await guest.run_in_guest(layout, "vm", ["true"], timeout_s=5)
    down(lab_name)
    assert traces(lab_name) == []


async def test_a_guest_that_stops_while_it_boots_is_started_again(
    lab_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "BOOT_TIMEOUT_S", 20.0)
    booting = asyncio.create_task(boot(lab_name))
    assert await wait_until(lambda: bool(qemus(lab_name)), 20)
    (stuck,) = qemus(lab_name)
    os.kill(stuck.pid, signal.SIGSTOP)
    layout = await booting
    (qemu,) = qemus(lab_name)
    assert qemu.pid != stuck.pid
    assert await guest.run_in_guest(layout, "vm", ["echo", "here"]) == (0, "here\n")


async def test_a_guest_without_its_tap_is_an_error_at_once(lab_name: str) -> None:
    layout = Layout(lab_name)
    layout.member("vm").directory.mkdir(parents=True)
    with pytest.raises(LabError, match="vm: qemu ended at once"):
        await guest.boot(layout, VM)
