"""get: tables to the letter, YAML and JSON that can be read again."""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.conftest import Tortie
from tortie.cli import strict_yaml, terminal
from tortie.cli.output import as_document
from tortie.model.resource import ResourceKey

CLUSTER = """
- apiVersion: projectcalico.org/v3
  kind: IPPoolList
  items:
  - metadata: {name: ippool-name1}
    spec: {cidr: 10.0.1.0/24, nodeSelector: foo == 'bar'}
  - metadata: {name: v6}
    spec: {cidr: 'fd00:65::/64', natOutgoing: true}
- apiVersion: projectcalico.org/v3
  kind: NodeList
  items:
  - metadata: {name: node-1, labels: {on: "yes", since: '2026-01-31'}}
    spec: {bgp: {ipv4Address: 172.18.203.1/24, asNumber: 65001}}
  - metadata: {name: node-2}
    spec: {bgp: {ipv6Address: 'fd00::2/64'}}
- apiVersion: projectcalico.org/v3
  kind: BGPPeer
  metadata: {name: tor}
  spec: {peerIP: 172.18.203.254, asNumber: 64601}
- apiVersion: projectcalico.org/v3
  kind: WorkloadEndpoint
  metadata: {name: node--1-tortie-web-eth0, namespace: blue}
  spec:
    node: node-1
    orchestrator: tortie
    workload: web
    endpoint: eth0
    interfaceName: cali1234abcd567
    ipNetworks: [10.0.1.24/32]
    profiles: [projectcalico-default-allow]
"""


@pytest.fixture
def cluster(tortie: Tortie) -> Tortie:
    said = tortie("create", "-f", tortie.write("cluster.yaml", CLUSTER))
    assert said == (0, "Successfully created 6 resource(s)\n", "")
    return tortie


# A dot marks the blank that ends a line.
@pytest.mark.parametrize(
    ("words", "table"),
    [
        (
            "ippools",
            """\
NAME           CIDR           SELECTOR       .
ippool-name1   10.0.1.0/24    foo == 'bar'   .
v6             fd00:65::/64   all()          .

""",
        ),
        (
            "pool -o wide",
            """\
NAME           CIDR           NAT     IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   SELECTOR       ASSIGNMENTMODE   .
ippool-name1   10.0.1.0/24    false   Never      Never       false      false              foo == 'bar'   Automatic        .
v6             fd00:65::/64   true    Never      Never       false      false              all()          Automatic        .

""",  # noqa: E501
        ),
        (
            "IPPOOL v6 ippool-name1",
            """\
NAME   CIDR           SELECTOR   .
v6     fd00:65::/64   all()      .

NAME           CIDR          SELECTOR       .
ippool-name1   10.0.1.0/24   foo == 'bar'   .

""",
        ),
        (
            "no -o wide",
            """\
NAME     ASN       IPV4              IPV6         .
node-1   65001     172.18.203.1/24                .
node-2   (64512)                     fd00::2/64   .

""",
        ),
        (
            "bgppeers",
            """\
NAME   PEERIP           NODE       ASN     .
tor    172.18.203.254   (global)   64601   .

""",
        ),
        ("wep", "WORKLOAD   NODE   NETWORKS   INTERFACE   .\n\n"),
        (
            "wep -n blue",
            """\
NAMESPACE   WORKLOAD   NODE     NETWORKS       INTERFACE         .
blue        web        node-1   10.0.1.24/32   cali1234abcd567   .

""",
        ),
        (
            "wep -A -o custom-columns=ORCHESTRATOR,NAMESPACE,NAME",
            """\
ORCHESTRATOR   NAMESPACE   NAME                      .
tortie         blue        node--1-tortie-web-eth0   .

""",
        ),
        ("profiles", "NAME                          .\nprojectcalico-default-allow   .\n\n"),
    ],
)
def test_tables(cluster: Tortie, words: str, table: str) -> None:
    assert cluster("get", *words.split()) == (0, table.replace(" .\n", " \n"), "")


def test_objects_of_files_have_a_table_each(cluster: Tortie) -> None:
    said = cluster("get", "-f", "cluster.yaml")
    assert said.code == 0
    assert said.stdout.count("\n\n") == 6


def test_the_as_number_of_the_cluster_is_shown_in_brackets(cluster: Tortie) -> None:
    text = (
        "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {asNumber: 65000}}"
    )
    cluster("apply", "-f", "-", stdin=text)
    assert "(65000)" in cluster("get", "node", "node-2", "-o", "wide").stdout


def normalised(text: str, resource: dict[str, Any]) -> str:
    metadata = resource["metadata"]
    text = text.replace(metadata["uid"], "UID").replace(metadata["creationTimestamp"], "CREATIONTIMESTAMP")
    return text.replace(f'"{metadata["resourceVersion"]}"', '"RESOURCEVERSION"')


def test_yaml_has_sorted_keys_and_quotes_what_others_would_misread(cluster: Tortie) -> None:
    [resource, _] = cluster.items("node")
    assert (
        normalised(cluster("get", "node", "node-1", "-o", "yaml").stdout, resource)
        == """\
apiVersion: projectcalico.org/v3
kind: Node
metadata:
  creationTimestamp: "CREATIONTIMESTAMP"
  labels:
    "on": "yes"
    since: "2026-01-31"
  name: node-1
  resourceVersion: "RESOURCEVERSION"
  uid: UID
spec:
  bgp:
    asNumber: 65001
    ipv4Address: 172.18.203.1/24
status: {}
"""
    )


def test_what_readers_fill_in_is_shown(cluster: Tortie) -> None:
    """A writer other than Calico's may have left out the defaults of a pool, or left nulls."""
    document = {
        "kind": "IPPool",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "terse", "labels": {"gpu": None}},
        "spec": {"cidr": "10.99.0.0/16", "natOutgoing": None, "newField": 1},
    }
    cluster.put(ResourceKey("IPPool", "", "terse"), document)
    shown = json.loads(cluster("get", "ippool", "terse", "-o", "json").stdout)
    assert shown["metadata"]["labels"] == {"gpu": ""}
    assert shown["spec"] == {
        "cidr": "10.99.0.0/16",
        "vxlanMode": "Never",
        "ipipMode": "Never",
        "blockSize": 26,
        "nodeSelector": "all()",
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
        "newField": 1,
    }


def test_json_has_the_order_of_calico_and_no_line_feed_at_its_end(cluster: Tortie) -> None:
    [_, resource] = cluster.items("node")
    assert (
        normalised(cluster("get", "node", "node-2", "-o", "json").stdout, resource)
        == """\
{
  "kind": "Node",
  "apiVersion": "projectcalico.org/v3",
  "metadata": {
    "name": "node-2",
    "uid": "UID",
    "resourceVersion": "RESOURCEVERSION",
    "creationTimestamp": "CREATIONTIMESTAMP"
  },
  "spec": {
    "bgp": {
      "ipv6Address": "fd00::2/64"
    }
  },
  "status": {}
}"""
    )


@pytest.mark.parametrize("form", ["yaml", "yml", "json"])
def test_one_many_and_all(cluster: Tortie, form: str) -> None:
    def got(*words: str) -> Any:
        [document] = strict_yaml.read(cluster("get", *words, "-o", form).stdout)
        return document.value

    assert got("ippool", "v6")["metadata"]["name"] == "v6"
    assert [one["metadata"]["name"] for one in got("ippool", "v6", "ippool-name1")] == ["v6", "ippool-name1"]
    assert [one["kind"] for one in got("-f", "cluster.yaml")][:3] == ["IPPool", "IPPool", "Node"]
    every = got("ippools")
    assert (every["kind"], every["apiVersion"]) == ("IPPoolList", "projectcalico.org/v3")
    assert every["metadata"]["resourceVersion"].isdecimal()
    assert [one["metadata"]["name"] for one in every["items"]] == ["ippool-name1", "v6"]


def test_export_drops_what_binds_a_named_object_to_its_store(cluster: Tortie) -> None:
    exported = json.loads(cluster("get", "node", "node-1", "-o", "json", "--export").stdout)
    assert exported["metadata"] == {"name": "node-1", "labels": {"on": "yes", "since": "2026-01-31"}}
    endpoint = cluster("get", "wep", "node--1-tortie-web-eth0", "-n", "blue", "-o", "json", "--export").stdout
    assert json.loads(endpoint)["metadata"].keys() == {"name", "labels"}
    listed = json.loads(cluster("get", "nodes", "-o", "json", "--export").stdout)
    assert "uid" in listed["items"][0]["metadata"]


def test_what_is_missing(cluster: Tortie) -> None:
    missing = "resource does not exist: IPPool({}) with error: <nil>\n"
    assert cluster("get", "ippool", "x", "v6", "y") == (
        1,
        "NAME   CIDR           SELECTOR   \nv6     fd00:65::/64   all()      \n\n",
        missing.format("x") + missing.format("y"),
    )
    assert cluster("get", "ippool", "x") == (1, "", missing.format("x"))
    assert cluster("get", "ippool", "x", "-o", "json") == (1, "null", missing.format("x"))
    assert cluster("get", "ippool", "x", "y", "-o", "yaml") == (1, "null\n", missing.format("x") + missing.format("y"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("ipool", "failed to get resources: resource type 'ipool' is not supported; did you mean 'ippool'?"),
        ("whatever", "failed to get resources: resource type 'whatever' is not supported"),
        ("ippools -o names", "unrecognized output format 'names'"),
        ("ippools -o yaml=x", "unrecognized output format 'yaml=x'"),
        ("ippools -o custom-columns", "need to specify at least one column"),
        (
            "ippools -o custom-columns=NAME,,CIDR",
            "unknown heading , valid values are: NAME, CIDR, SELECTOR, NAT, "
            "IPIPMODE, VXLANMODE, DISABLED, DISABLEBGPEXPORT, ASSIGNMENTMODE",
        ),
        ("ippools -o go-template", "need to specify a template"),
        ("ippools -o go-template=", "need to specify a template"),
        ("ippools -o go-template-file=", "need to specify a template file"),
        ("ippools -o go-template-file=no.tmpl", "open no.tmpl: No such file or directory"),
        ("ippools -o go-template={{.", "template: get:1:3: unclosed action"),
        ("ippools -o jsonpath", "need to specify a template"),
        ("ippools -o jsonpath={", "jsonpath: column 2: unclosed action: expected }"),
        ("ippools -o jsonpath-file=", "need to specify a template file"),
        ("ippool v6 --selector all()", "--selector needs a kind, and neither names nor files"),
        ("ippools --selector a==b", "--selector a==b: not a selector: expected a quoted value at column 4, found 'b'"),
        ("-f cluster.yaml -w", "--watch needs a kind, with names or without; files cannot be watched"),
        ("ippools -o custom-columns=", "need to specify at least one column"),
        (
            "profile projectcalico-default-allow -o custom-columns=NAME,FOO",
            "unknown heading FOO, valid values are: NAME, LABELS",
        ),
        ("wep -n a -A", "cannot use both --namespace and --all-namespaces flags at the same time"),
        ("wep a -A", "cannot use --all-namespace flag for getting a single resource"),
        ("ippools -A", "IPPool is not namespaced"),
        ("ippools -n blue", "IPPool is not namespaced"),
        ("-f missing.yaml", "failed to execute command: missing.yaml: No such file or directory"),
    ],
)
def test_bad_usage(cluster: Tortie, words: str, sentence: str) -> None:
    assert cluster("get", *words.split()) == (1, "", sentence + "\n")


def test_without_anything_the_kinds_are_named(tortie: Tortie) -> None:
    said = tortie("get")
    assert (said.code, said.stdout) == (1, "")
    assert {"IPPool,", "Node,", "WorkloadEndpoint\n"} <= set(said.stderr.replace("\n", "\n ").split(" "))


NAMES = "{{range .}}{{range .Items}}{{.ObjectMeta.Name}} {{end}}{{end}}"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["ippools", "-o", f"go-template={NAMES}"], "ippool-name1 v6 "),
        (["ippools", "-o", "go-template={{range .}}{{.Kind}} {{len .Items}}{{end}}"], "IPPoolList 2"),
        (["node", "node-2", "node-1", "-o", "go-template={{range .}}{{.Name}} {{end}}"], "node-2 node-1 "),
        (["-f", "cluster.yaml", "-o", "go-template={{len .}}"], "6"),
        (
            ["node", "node-1", "-o", 'go-template={{range .}}{{.Spec.BGP.ASNumber}} {{config "asnumber"}}{{end}}'],
            "65001 64512",
        ),
        (["ippools", "-o", "jsonpath={.items[*].spec.cidr}"], "10.0.1.0/24 fd00:65::/64"),
        (["ippools", "-o", "jsonpath=.items[0].metadata.name"], "ippool-name1"),
        (["ippool", "v6", "-o", "jsonpath={.metadata.name}{.spec.natOutgoing}"], "v6true"),
        (["ippool", "v6", "ippool-name1", "-o", "jsonpath={[*].metadata.name}"], "v6 ippool-name1"),
        (["wep", "-A", "-o", 'jsonpath={.items[?(@.spec.node=="node-1")].spec.workload}'], "web"),
        (["ippools", "-o", "name"], "ippool/ippool-name1\nippool/v6\n"),
        (["ippool", "v6", "-o", "name"], "ippool/v6\n"),
        (["-f", "cluster.yaml", "-o", "name"], None),
        (["nodes", "--selector", "on == 'yes'", "-o", "name"], "node/node-1\n"),
        (["nodes", "--selector", "!has(on)", "-o", "name"], "node/node-2\n"),
        (["wep", "-A", "--selector", "projectcalico.org/orchestrator == 'tortie'", "-o", "name"], None),
        (["nodes", "--selector", "on == 'no'"], "NAME   \n\n"),
    ],
)
def test_templates_names_and_selectors(cluster: Tortie, words: list[str], text: str | None) -> None:
    said = cluster("get", *words)
    assert (said.code, said.stderr) == (0, "")
    if text is None:
        assert said.stdout
    else:
        assert said.stdout == text


def test_templates_from_files(cluster: Tortie) -> None:
    cluster.write("names.tmpl", NAMES)
    assert cluster("get", "ippools", "-o", "go-template-file=names.tmpl").stdout == "ippool-name1 v6 "
    cluster.write("names.path", "{range .items[*]}{.metadata.name}\n{end}")
    assert cluster("get", "ippools", "-o", "jsonpath-file=names.path").stdout == "ippool-name1\nv6\n"
    cluster.write("bad.tmpl", b"\xff")
    assert cluster("get", "ippools", "-o", "go-template-file=bad.tmpl") == (
        1,
        "",
        "bad.tmpl: is no UTF-8 text: byte 0xff at offset 0\n",
    )


def test_templates_without_anything_found(cluster: Tortie) -> None:
    missing = "resource does not exist: IPPool(x) with error: <nil>\n"
    assert cluster("get", "ippool", "x", "-o", "go-template={{range .}}{{.Name}}{{end}}") == (1, "", missing)
    assert cluster("get", "ippool", "x", "-o", "jsonpath={.metadata.name}") == (1, "", missing)
    assert cluster("get", "ippool", "x", "-o", "name") == (1, "", missing)


def test_headings_are_bold_on_a_terminal_alone(cluster: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cluster("get", "ippools", "-o", "custom-columns=NAME").stdout
    assert "\x1b" not in plain
    monkeypatch.setattr(sys, "stdout", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.with_heading("NAME   \na   \n\n") == "\x1b[1mNAME   \x1b[0m\na   \n\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.with_heading("NAME   \n") == "NAME   \n"


def test_a_broken_object_is_named_and_hides_no_other(cluster: Tortie) -> None:
    document = {
        "kind": "IPPool",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "bad"},
        "spec": {"cidr": "x"},
    }
    cluster.put(ResourceKey("IPPool", "", "bad"), document)
    error = "error with field spec.cidr = 'x' (IPPool CIDR must be a valid subnet)\n"
    said = cluster("get", "ippools", "-o", "custom-columns=NAME")
    assert said == (
        1,
        "NAME           \nippool-name1   \nv6             \n\n",
        f"IPPool(bad) in the datastore: {error}",
    )
    assert cluster("get", "ippool", "bad") == (1, "", error)
    said = cluster("get", "ippool", "bad", "-o", "json")
    assert json.loads(said.stdout) == {**document, "metadata": {"name": "bad", "resourceVersion": ANY}}
    assert (said.code, said.stderr) == (1, error)
    assert "  cidr: x\n" in cluster("get", "ippool", "bad", "-o", "yaml").stdout
    assert cluster("delete", "ippool", "bad").code == 0


def test_a_store_that_is_not_there_is_not_made_by_looking(tortie: Tortie) -> None:
    said = tortie("get", "nodes")
    assert (said.code, said.stdout) == (1, "")
    assert str(tortie.store) in said.stderr
    assert not tortie.store.exists()


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])) | st.sampled_from(
    [
        "no",
        "y",
        "N",
        "on",
        "~",
        "null",
        "",
        "007",
        "1e5",
        "0x1f",
        "1.10",
        "12:30",
        "2026-01-31",
        "=",
        "<<",
        "a\nb",
        "- a",
    ]
)


@given(st.recursive(SCALARS | WORDS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=20))
def test_what_is_printed_means_the_same_when_it_is_read(value: Any) -> None:
    assert [document.value for document in strict_yaml.read(as_document("yaml", value))] == [value]
    [parsed] = strict_yaml.read(as_document("json", [value]))
    assert parsed.value == [value]
