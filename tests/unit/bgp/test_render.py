"""The whole text for each way to lay out BGP, and what BIRD itself says about it.

Golden files are written anew by `REWRITE_GOLDEN=1 pytest tests/unit/bgp`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from tests.unit.bgp.intents import A4, A6, B4, B6, BGP_PEER, C4, ELSEWHERE4, REFLECTOR4, intent, peer
from tests.unit.calc.cluster import bgp_filter
from tortie.bgp.render import mark_of, possible_peers, render, render_initial, retired, stand_alone, withdrawn
from tortie.bgp.routes import Host
from tortie.intent.bgp import Advertisement, BgpIntent, NextHop, Origin, RouteFilter, SecretRef
from tortie.model.kinds.bgpfilter import BGPFilterSpec

GOLDEN = Path(__file__).parent / "golden"
PASSWORD = SecretRef("bgp", "rack1")
SECRETS = {PASSWORD: "correct horse {battery}; # staple"}
CLUSTER = IPv4Address("244.0.0.1")

V6 = {"matchOperator": "NotIn", "cidr": "fd65::/64"}
RULES = bgp_filter(
    "rules",
    exportV4=[
        {"action": "Reject", "matchOperator": "In", "cidr": "10.65.1.0/24", "prefixLength": {"min": 25, "max": 30}},
        {"action": "Accept", "matchOperator": "Equal", "cidr": "10.65.0.0/16", "prefixLength": {"min": 8}},
        {"action": "Reject", "matchOperator": "NotEqual", "cidr": "10.65.0.0/16", "prefixLength": {"min": 20}},
        {"action": "Reject", "source": "RemotePeers", "interface": "eth*", "peerType": "eBGP", "priority": 1024},
        {
            "action": "Accept",
            "communities": {"values": ["64512:1:2"]},
            "operations": [
                {"addCommunity": {"value": "64512:07"}},
                {"prependASPath": {"prefix": [65001, 65002]}},
                {"setPriority": {"value": 512}},
            ],
        },
        {"action": "Reject"},
    ],
    importV4=[{"action": "Accept", "asPathPrefix": [64601, 64602], "peerType": "iBGP"}],
    importV6=[{"action": "Reject", "communities": {"values": ["1:1"]}, **V6, "prefixLength": {"max": 80}}],
)

SCENES = {
    "mesh": intent(A4, peer(B4, local=A4), peer(C4, local=A4)),
    "reflector": intent(
        REFLECTOR4,
        peer(A4, local=REFLECTOR4, origin=Origin.NODE, reflector_client=True),
        peer(B4, local=REFLECTOR4, origin=Origin.NODE, reflector_client=True),
        peer("172.18.203.201", local=REFLECTOR4),  # a reflector of the same cluster id: no client
        cluster_id=CLUSTER,
    ),
    "reflector-client": intent(A4, peer(REFLECTOR4, local=A4, origin=Origin.NODE)),
    "routers": intent(
        A4,
        peer("172.18.203.1", local=A4, origin=Origin.GLOBAL, as_number=64601, next_hop=NextHop.KEEP),
        peer("172.18.203.2", local=A4, origin=Origin.NODE, as_number=64601, next_hop=NextHop.SELF, port=1790),
        peer(ELSEWHERE4, local=A4, origin=Origin.NODE, as_number=4200000000, on_link=False, local_address=None),
        peer("172.18.203.3", local=A4, origin=Origin.NODE, as_number=64601, password=PASSWORD),
        listen_port=1179,
    ),
    "as-per-node": intent(
        A4,
        peer(B4, local=A4, origin=Origin.NODE, local_as=64513, as_number=64514),
        peer(C4, local=A4, origin=Origin.NODE, local_as=64513, as_number=64515),
        as_number=64513,
    ),
    "dual-stack": intent(A4, peer(B4, local=A4), peer(B6, local=A6)),
    "ipv6-only": intent("203.0.113.7", peer(B6, local=A6), pools=()),
    "terms": intent(
        A4,
        peer(
            "172.18.203.1",
            local=A4,
            origin=Origin.NODE,
            as_number=64601,
            local_as=65009,
            hops=1,
            own_as_allowed=2,
            restart_time_s=60,
            keepalive_time_s=10,
            filters=("rules", "none"),
        ),
        peer(ELSEWHERE4, local=A4, on_link=False, hops=3, keepalive_time_s=60, reachable_by=ip_address(C4)),
        peer(B6, local=A6, filters=("rules",)),
        filters=(RouteFilter("none", BGPFilterSpec()), RouteFilter("rules", RULES.spec)),
        advertisements=(
            Advertisement(ip_network("10.65.1.0/24"), ((64512, 100), (64512, 1, 2))),
            Advertisement(ip_network("fd65::/80"), ((64512, 6),)),
        ),
        node_address_only=True,
    ),
    "two-subnets": intent(A4, peer(B4, local=A4), peer(ELSEWHERE4, local=A4, on_link=False)),
}


def rendered(wanted: BgpIntent) -> str:
    return render(wanted, Host(), SECRETS)


def bird_check(file: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("bird") is None:
        pytest.skip("BIRD is not installed")
    return subprocess.run(["bird", "-p", "-c", file], capture_output=True, text=True, check=False, timeout=10)


@pytest.mark.parametrize("scene", SCENES)
def test_text_is_the_golden_one(scene: str) -> None:
    file = GOLDEN / f"{scene}.conf"
    if os.environ.get("REWRITE_GOLDEN"):
        file.write_text(rendered(SCENES[scene]))
    assert rendered(SCENES[scene]) == file.read_text()


@pytest.mark.parametrize("scene", SCENES)
def test_bird_accepts_the_text(scene: str) -> None:
    done = bird_check(GOLDEN / f"{scene}.conf")
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_no_golden_text_without_a_scene() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == SCENES.keys()


def test_bird_accepts_the_initial_text(tmp_path: Path) -> None:
    file = tmp_path / "bird.conf"
    file.write_text(render_initial())
    assert bird_check(file).returncode == 0


def test_bird_refuses_a_known_bad_text(tmp_path: Path) -> None:
    """Else the checks above would prove nothing."""
    file = tmp_path / "bird.conf"
    file.write_text(rendered(SCENES["mesh"]).replace("as 64512", "as banana"))
    assert bird_check(file).returncode == 1


@pytest.mark.parametrize("scene", SCENES)
def test_a_part_of_another_configuration_has_nothing_that_bird_may_have_once(scene: str, tmp_path: Path) -> None:
    text = render(SCENES[scene], Host(included=True), {PASSWORD: "x"})
    for word in (
        "router id",
        "protocol device",
        "protocol direct",
        "protocol kernel",
        "protocol static",
        "log ",
        "graceful restart wait",
    ):
        assert f"\n{word}" not in text
    file = tmp_path / "bird.conf"
    file.write_text(stand_alone(text))
    assert bird_check(file).returncode == 0


def test_metric_is_the_kernel_metric_of_both_families() -> None:
    text = render(SCENES["dual-stack"], Host(kernel_metric=0), secrets={})
    assert text.count("  metric 0;\n") == 2


def test_a_peer_without_its_password_is_left_out() -> None:
    wanted = SCENES["routers"]
    assert "Node_172_18_203_3" not in render(wanted, Host(), secrets={})
    assert [each.name for each in wanted.peers if each not in possible_peers(wanted, {})] == ["Node_172_18_203_3"]


@pytest.mark.parametrize("password", ['a"; }', "a\nb", "", "a" * 81, "passwört", "a\\\0"])
def test_a_password_cannot_leave_its_quotes(password: str) -> None:
    with pytest.raises(ValueError, match="not validated") as raised:
        render(SCENES["routers"], Host(), secrets={PASSWORD: password})
    assert not password or password not in str(raised.value)


@pytest.mark.parametrize("pattern", ['"', "eth0; }", "", "a b", "x\n", "-" * 17])
def test_an_interface_pattern_cannot_leave_its_quotes(pattern: str) -> None:
    with pytest.raises(ValueError, match="not validated"):
        render(intent(A4, hidden_interfaces=(pattern,)), Host(), secrets={})


class TestMark:
    def test_equal_intents_have_one_mark(self) -> None:
        assert mark_of(rendered(SCENES["mesh"])) == mark_of(rendered(intent(A4, *SCENES["mesh"].peers)))

    def test_every_difference_is_another_mark(self) -> None:
        texts = [rendered(scene) for scene in SCENES.values()]
        texts += [render(SCENES["mesh"], Host(kernel_metric=0), secrets={}), render_initial()]
        texts += [render(SCENES["routers"], Host(), secrets={PASSWORD: "another"})]
        marks = {mark_of(text) for text in texts}
        assert len(marks) == len(texts)
        assert "" not in marks

    @pytest.mark.parametrize(
        "text", ["", "router id 1.1.1.1;\n", "# define tortie_0123 = 0;\n", "define tortie_x = 0;\n"]
    )
    def test_a_foreign_text_has_none(self, text: str) -> None:
        assert mark_of(text) == ""


def test_session_name_says_origin_and_address() -> None:
    names = [peer(B4, local=A4).name, peer(B6, local=A6, origin=Origin.GLOBAL, source=BGP_PEER).name]
    assert names == ["Mesh_172_18_203_126", "Global_fd00_203__126"]


@pytest.mark.parametrize("scene", SCENES)
def test_a_drained_node_tells_its_peers_of_nothing(scene: str) -> None:
    wanted = SCENES[scene]
    quiet = rendered(msgspec.structs.replace(wanted, announcing=False))
    sessions = quiet.partition("template bgp tortie_session")[2]
    exports = re.findall(r"^    export (.*);$", sessions, re.MULTILINE)
    assert exports == ["none"] * len(possible_peers(wanted, SECRETS))
    assert without_exports(quiet) == without_exports(rendered(wanted))
    assert mark_of(quiet) not in ("", mark_of(rendered(wanted)))
    # What an agent does by its intent, others do by the text, also twice.
    assert withdrawn(rendered(wanted)) == withdrawn(quiet) == quiet


def without_exports(text: str) -> list[str]:
    """Behind the mark, which differs."""
    return [line for line in text.splitlines()[2:] if "    export " not in line or "RTS_BGP" in line]


def test_a_text_of_the_release_before_is_withdrawn_too() -> None:
    text = rendered(SCENES["mesh"]).replace("export filter { tortie_announce4(); };", "export where announced4();")
    assert withdrawn(text).count("    export none;\n") == 2


def test_a_retired_node_also_takes_its_routes_out_of_the_kernel(tmp_path: Path) -> None:
    text = retired(rendered(SCENES["mesh"]))
    assert text.count("    export none;\n") == 4
    assert "export where source = RTS_BGP" not in text
    assert withdrawn(text) == retired(text) == text
    file = tmp_path / "bird.conf"
    file.write_text(text)
    checked = bird_check(file)
    assert checked.returncode == 0, checked.stderr


def test_only_a_text_of_ours_is_changed() -> None:
    for text in ("", "router id 1.2.3.4;\nfunction announced4() {\n}\n"):
        with pytest.raises(ValueError, match="not a configuration of tortie"):
            withdrawn(text)
    assert retired(render_initial()) == withdrawn(render_initial()) == render_initial()
