"""node reset on hosts full of other people's things: nothing of tortie is left, and nothing else is touched."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.netns.agent.conftest import AgentFactory
from tests.netns.agent.running import RunningAgent
from tests.netns.agent.test_bird import put_node
from tests.netns.agent.test_policy import deny_from
from tests.netns.conftest import Namespace, NetnsFactory

pytestmark = pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")

# Forwarding of one interface alone, which the kernel forgets when the host's is changed.
FOREIGN = """set -e
ip link add up0 type veth peer name up1
sysctl -qw net.ipv6.conf.up0.accept_dad=0 net.ipv6.conf.up1.accept_dad=0
ip link set up0 up; ip link set up1 up; until ip -6 route show default | grep -q . ; do
  ip -6 addr replace fd00:51::2/64 dev up0 nodad; ip -6 route replace default via fd00:51::1 dev up0; done
ip addr add 198.51.100.2/24 dev up0;ip route add default via 198.51.100.1
ip route add 203.0.113.0/24 via 198.51.100.9 table 100 proto 80; ip rule add from 192.0.2.0/24 lookup 100
ip route add 10.65.0.77 via 198.51.100.9 proto static; ip -6 rule add from fd00:9::/64 lookup 100
ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:99 dev up0; ip neigh add proxy 198.51.100.3 dev up0
ip tuntap add tap9 mode tap; ip link set tap9 up
ip route add 198.51.100.7 dev tap9 mtu 1400 advmss 1200 proto 80; ip route add 198.51.100.8 dev tap9 table 100
ip neigh add 198.51.100.7 lladdr 02:00:00:00:00:97 dev tap9
sysctl -qw net.ipv4.conf.up0.forwarding=1 net.ipv6.conf.up0.forwarding=1 net.ipv4.conf.tap9.rp_filter=1
sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=1
nft 'table ip theirs { set s { type ipv4_addr; elements = { 192.0.2.1 }; };
  chain c { type filter hook forward priority 10; ip saddr @s drop; }; }'
nft 'table arp theirs { chain c { type filter hook input priority 0; }; }'
ipset create theirs hash:ip; ipset add theirs 192.0.2.9
for variant in nft legacy; do for table in filter raw mangle nat; do for family in iptables ip6tables; do
  $family-$variant -t $table -N theirs; $family-$variant -t $table -A PREROUTING -j theirs 2>/dev/null ||
  $family-$variant -t $table -A FORWARD -j theirs
done; done; done
iptables-legacy -A FORWARD -m set --match-set theirs src -j DROP
"""
# As if agents that used other backends had been killed, and somebody had broken what was there.
LEFT_BEHIND = """set -e
ipset create tortie4-old hash:ip; ipset add tortie4-old 192.0.2.1
for variant in nft legacy; do
  iptables-$variant -N tortie-old; iptables-$variant -A tortie-old -m set --match-set tortie4-old src -j DROP
  iptables-$variant -I FORWARD -j tortie-old; ip6tables-$variant -t raw -N tortie-older
done
nft 'table inet tortie-fragments-legacy { chain c { type filter hook prerouting priority -401; }; }'
nft 'table inet tortie-closed { chain c { type filter hook prerouting priority raw; }; }'
ip route add 10.65.0.88 dev tap9 proto 118
ip addr del fe80::ecee:eeff:feee:eeee/64 dev tap9
"""


def state_of(namespace: Namespace) -> dict[str, list[str]]:
    """Everything that others may have made, without what counts and what changes by itself."""
    listed = {
        "nft": "nft list ruleset",
        "iptables": "; ".join(f"{family}-{variant}-save" for variant in ("nft", "legacy") for family in FAMILIES),
        "ipset": "ipset save",
        "routes": "ip -d route show table all; ip -d -6 route show table all",
        "rules": "ip -d rule; ip -d -6 rule",
        "neighbours": "ip neigh show nud permanent; ip neigh show proxy",
        "addresses": "ip -d addr",
        "qdiscs": "tc qdisc; tc filter show dev tap9 ingress",
        "sysctls": "sysctl -a -r '^net[.]' 2>/dev/null",
    }
    noise = r"\[\d+:\d+\]|^#.*|initval \w+|expires \d+sec|packets \d+ bytes \d+|^.*nf_conntrack_count.*$"
    # The kernel's own, with the first IPv6 address or carrier that an interface ever has.
    noise += r"|^multicast ff00::/8 dev tap9 .*$"
    noise += r"|(?<=link/ether )\S+"  # of a workload's interface it stays as the agent set it
    return {
        name: sorted(filter(str.strip, re.sub(noise, "", namespace.run(command), flags=re.MULTILINE).splitlines()))
        for name, command in listed.items()
    }


FAMILIES = ("iptables", "ip6tables")


def reset(agent: RunningAgent, *words: str, check: int = 0) -> str:
    command = ["nsenter", f"--net={agent.namespace.path}", agent.python, "-m", "tortie", "-c", str(agent.config)]
    done = subprocess.run([*command, "node", "reset", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def bird(agent: RunningAgent, config: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    state, run = agent.directory / "state", agent.directory / "run"
    command = ["bird", "-f", "-R", "-c", str(config or state / "bird.conf"), "-s", str(run / "bird.ctl")]
    with (agent.directory / "bird.log").open("ab") as log:
        process = subprocess.Popen(["nsenter", f"--net={agent.namespace.path}", *command], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def birdc(agent: RunningAgent, command: str) -> str:
    return agent.namespace.run(f"birdc -s {agent.directory}/run/bird.ctl {command}")


def test_foreign_state_is_the_same_to_the_bit(agents: AgentFactory, netns: NetnsFactory) -> None:
    agent = agents("host-a")
    host = agent.namespace
    host.run(FOREIGN)
    before = state_of(host)
    agent.start_and_wait()
    with bird(agent) as daemon:
        agent.wait(lambda board: board["bird"]["running"])
        web = netns("web")
        agent.attach("web", netns=web.path, addresses=["10.65.0.24", "fd00:65::24"])
        agent.attach("vm", tap="tap9", mac="02:00:00:00:00:01", addresses=["10.65.0.25"])
        deny_from(agent, "Deny")
        host.run(LEFT_BEHIND)

        refused = reset(agent, "--yes", check=2)
        assert "an agent runs here, process" in refused
        assert "nothing was removed" in refused
        agent.stop(signal.SIGKILL)

        during = state_of(host)
        listed = reset(agent, "--dry-run")
        assert state_of(host) == during
        for expected in (
            f"process {daemon.pid}, at {agent.directory}/run/bird.ctl",
            "10.65.0.24/32 table 254 dev calide4e752220c proto 116",
            "10.65.0.88/32 table 254 dev tap9 proto 118",
            "fd00:65::24 lladdr",
            "169.254.1.1 dev tap9 proto 116",
            "responder on calide4e752220c",
            "net/ipv4/ip_forward: 1 becomes 0 again",
            "table inet tortie, with",
            "IPv4 filter: chain tortie-old",
            "IPv6 raw: chain tortie-older",
            "IPv4 filter: rule of FORWARD that leads to tortie's",
            "IP set tortie4-old",
            "table inet tortie-fragments-legacy",
            "table inet tortie-closed",
            f"{agent.directory}/state/snapshot.json",
            f"{agent.directory}/run/agent.sock",
        ):
            assert expected in listed, listed
        for foreign in ("theirs", "10.65.0.77", "198.51.100", "up0: "):
            assert foreign not in listed

        unasked = reset(agent, check=2)
        assert "2 workloads will lose all connectivity, and no policy will hold" in unasked
        assert "--yes was not given" in unasked
        assert state_of(host) == during

        assert "\nremoved\n" in reset(agent, "--yes")
        daemon.wait(5)
    host.run("ip link del calide4e752220c")
    after = state_of(host)
    for name, lines in before.items():
        assert "\n".join(unified_diff(lines, after[name], n=0, lineterm="")) == "", name
    assert [path.name for path in agent.directory.iterdir()] != []
    assert not (agent.directory / "state").exists()
    assert not (agent.directory / "run").exists()
    assert agent.store.exists()
    assert reset(agent, "--yes") == "there is nothing of tortie on this host\n"

    # The same host is one again when an agent starts, and the store can be taken away too.
    agent.start_and_wait()
    agent.stop()
    assert str(agent.store) in reset(agent, "--yes", "--with-datastore")
    assert not agent.store.exists()


HOSTS_OWN = """\
router id 192.0.2.77;
protocol device {{ scan time 10; }}
protocol direct {{ interface "up0"; ipv4; }}
include "{part}";
protocol kernel {{ learn; persist; scan time 10; metric 32; netlink rx buffer 67108864;
  ipv4 {{ import filter tortie_from_kernel4; export where source = RTS_BGP || source = RTS_STATIC; }}; }}
protocol static {{ ipv4; route 203.0.113.0/24 via 198.51.100.9; }}
protocol bgp rack {{ local 198.51.100.2 as 65001; neighbor 198.51.100.9 as 64601; ipv4 {{ import all; export all; }}; }}
"""


def test_a_bird_of_the_hosts_own_goes_on_without_our_part(agents: AgentFactory) -> None:
    agent = agents("host-a")
    host = agent.namespace
    host.run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
    host.run("ip addr add 198.51.100.2/24 dev up0; ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:99 dev up0")
    part, main = agent.directory / "state" / "bird.conf", agent.directory / "main.conf"
    main.write_text(HOSTS_OWN.format(part=part))
    with agent.config.open("a") as config:
        config.write("bird_included = true\n")
    agent.start_and_wait()
    with bird(agent, main) as daemon:
        agent.wait(lambda board: board["bird"]["running"] and board["bird"]["configured"])
        put_node(agent, "host-a", "198.51.100.2/24")
        put_node(agent, "host-b", "198.51.100.3/24")
        agent.wait(lambda board: [each["name"] for each in board["bird"]["sessions"]] == ["Mesh_198_51_100_3"])
        agent.stop()
        assert str(part) in reset(agent, "--dry-run")
        assert "\nremoved\n" in reset(agent, "--yes")
        assert daemon.poll() is None
        protocols = birdc(agent, "show protocols")
        assert "rack" in protocols
        assert "Mesh" not in protocols
        assert "203.0.113.0/24" in host.run("ip route show proto bird")
        assert "protocol bgp" not in part.read_text()
        assert birdc(agent, "configure").splitlines()[-1].startswith("Reconfigured")
        assert reset(agent, "--yes") == "there is nothing of tortie on this host\n"


def test_what_does_not_go_stops_nothing_else_and_is_named(agents: AgentFactory, tmp_path: Path) -> None:
    agent = agents("host-a")
    agent.namespace.run("ip tuntap add tap9 mode tap; ip link set tap9 up")
    agent.start_and_wait()
    agent.attach("vm", tap="tap9", mac="02:00:00:00:00:01", addresses=["10.65.0.25"])
    agent.stop()
    # A set of ours that somebody else's rule uses cannot go, and a file may stand where a directory should.
    agent.namespace.run("ipset create tortie4-x hash:ip; iptables-nft -A FORWARD -m set --match-set tortie4-x src")
    said = reset(agent, "--yes", check=1)
    left = said.partition("\nleft:\n")[2]
    assert "IP set tortie4-x" in left
    assert agent.namespace.run("nft list tables inet; ip route show proto 116; ip neigh show nud permanent") == ""
    agent.namespace.run("iptables-nft -F FORWARD")
    assert "\nremoved\n" in reset(agent, "--yes")
