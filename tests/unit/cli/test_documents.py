"""What `-f` may name, and every way in which it can be wrong: one clear error, exit code 1, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Tortie
from tortie.cli import documents

VERSION = "apiVersion: projectcalico.org/v3\n"
COMMAND = "failed to execute command: "
UNKNOWN = "field in document is not recognized or is in the wrong location: "


def pool(name: str, cidr: str = "10.65.0.0/16", more: str = "") -> str:
    return f"{VERSION}kind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}{more}}}\n"


POOL = pool("pool-a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # Not YAML, or not text.
        ("a: [", "f.yaml: document 1, line 2, column 1: did not find expected node content"),
        (
            POOL + "---\na: {\n  b: 1, b: 2}\n",
            'f.yaml: document 2, line 7, column 9: field "b" stands twice in one object',
        ),
        (b"\x7fELF\x02\x01", "f.yaml: line 1, column 1: control character 0x7f: this is no text"),
        (b"name: caf\xe9", "f.yaml: is no UTF-8 text: byte 0xe9 at offset 9"),
        (b"\xff\xfea\x00", "f.yaml: is no UTF-8 text: byte 0xff at offset 0"),
        # No object.
        ("hello", "f.yaml: text stands where an object with apiVersion, kind, metadata must be"),
        (
            POOL + "---\n7",
            "f.yaml, document 2, line 6: a number stands where an object with apiVersion, kind, metadata must be",
        ),
        ("- 1\n- 2\n", "f.yaml, item 1: a number stands where an object with apiVersion, kind, metadata must be"),
        ("- - a\n", "f.yaml, item 1: a list within a list"),
        # An object of no kind.
        (
            POOL.replace("IPPool", "IPool"),
            "unknown resource type (IPool) and/or version (projectcalico.org/v3); did you mean 'IPPool'? (in f.yaml)",
        ),
        (
            POOL.replace("/v3", "/v1"),
            "unknown resource type (IPPool) and/or version (projectcalico.org/v1); "
            "the version is projectcalico.org/v3 (in f.yaml)",
        ),
        ("kind: List\napiVersion: v1\nitems: []\n", "unknown resource type (List) and/or version (v1) (in f.yaml)"),
        ("a: 1", "unknown resource type () and/or version () (in f.yaml)"),
        (
            POOL.replace("IPPool", "[IPPool]"),
            "unknown resource type (a list) and/or version (projectcalico.org/v3) (in f.yaml)",
        ),
        # Typed lists.
        (VERSION + "kind: IPPoolList\nitems: {}\n", "f.yaml: items must be a list"),
        (VERSION + "kind: IPPoolList\nitems: [3]\n", "f.yaml, item 1: a number stands where a IPPool must be"),
        (
            VERSION + "kind: IPPoolList\nitems: [{kind: Node}]\n",
            "f.yaml, item 1: Node projectcalico.org/v3 in a IPPoolList",
        ),
        # A value of another type than its field.
        (
            POOL + "---\n" + pool("pool-b", "10.66.0.0/16", ", natOutgoing: yes"),
            "error with field spec.natOutgoing = 'yes' (must be true or false) "
            "(in f.yaml, document 2, line 6: IPPool(pool-b))",
        ),
        (
            POOL.replace("pool-a", "pool-a, labels: {zone: 1.10}"),
            "error with field metadata.labels.zone = '1.1' (must be text; put it in quotes) "
            "(in f.yaml: IPPool(pool-a))",
        ),
    ],
)
def test_a_file_that_cannot_be_understood(tortie: Tortie, text: str | bytes, reason: str) -> None:
    assert tortie("apply", "-f", tortie.write("f.yaml", text)) == (1, "", f"{COMMAND}{reason}\n")
    assert not tortie.store.exists()


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (
            pool("pool-a", more=", natOutgoin: true"),
            "spec.natOutgoin; did you mean 'natOutgoing'? (in f.yaml: IPPool(pool-a))",
        ),
        (POOL + "foo: 1\n", "foo (in f.yaml: IPPool(pool-a))"),
        (VERSION + "kind: IPPoolList\nitem: []\n", "item; did you mean 'items'? (in f.yaml)"),
    ],
)
def test_an_unknown_field(tortie: Tortie, text: str, fields: str) -> None:
    assert tortie("apply", "-f", tortie.write("f.yaml", text)) == (1, "", f"{UNKNOWN}{fields}\n")
    assert tortie.names("ippool") == []


@pytest.mark.parametrize(
    ("text", "kind", "error"),
    [
        (
            pool("pool-a", "10.65.0.0/33"),
            "IPPool",
            "error with field spec.cidr = '10.65.0.0/33' (IPPool CIDR must be a valid subnet) "
            "(in f.yaml: IPPool(pool-a))",
        ),
        (
            pool("pool-a", "10.65.0.1/16"),
            "IPPool",
            "error with field spec.cidr = '10.65.0.1/16' (IPPool CIDR is not strictly masked) "
            "(in f.yaml: IPPool(pool-a))",
        ),
        (
            VERSION + "kind: Node\nmetadata: {name: n}\nspec: {bgp: {ipv4Address: 'fd00::1/64'}}\n",
            "Node",
            "error with field spec.bgp.ipv4Address = 'fd00::1/64' (must be an IPv4 address with prefix length, "
            "such as 192.0.2.1/24) (in f.yaml: Node(n))",
        ),
        (
            POOL.replace("{name: pool-a}", "{}"),
            "IPPool",
            "error with field Metadata.Name = '' (field must be set for a Create request) (in f.yaml: IPPool)",
        ),
        (
            pool("Pool_A"),
            "IPPool",
            "error with field metadata.name = 'Pool_A' (must be lower-case letters, digits, - and ., "
            "beginning and ending with a letter or digit) (in f.yaml: IPPool(Pool_A))",
        ),
        (
            pool("pool-a", "10.65.0.0/33", ", ipipMode: Maybe"),
            "IPPool",
            "error with the following fields:\n"
            "-  spec.cidr = '10.65.0.0/33' (IPPool CIDR must be a valid subnet)\n"
            "-  spec.ipipMode = 'Maybe' (must be one of Always, CrossSubnet, Never) (in f.yaml: IPPool(pool-a))",
        ),
    ],
)
def test_an_object_against_the_rules(tortie: Tortie, text: str, kind: str, error: str) -> None:
    assert tortie("apply", "-f", tortie.write("f.yaml", text)) == (
        1,
        "",
        f"failed to apply '{kind}' resource: [{error}]\n",
    )
    assert not tortie.store.exists()


def test_one_bad_object_among_good_ones_is_left_out(tortie: Tortie) -> None:
    tortie.write("d/1.yaml", pool("pool-a", "10.65.0.0/16"))
    tortie.write("d/2.yaml", pool("pool-b", "10.66.0.0/40"))
    tortie.write("d/3.yaml", pool("pool-c", "10.67.0.0/16"))
    assert tortie("apply", "-f", "d") == (
        1,
        "Partial success: applied the first 2 out of 3 'IPPool' resources:\n",
        "hit error: [error with field spec.cidr = '10.66.0.0/40' (IPPool CIDR must be a valid subnet) "
        "(in d/2.yaml: IPPool(pool-b))]\n",
    )
    assert tortie.names("ippool") == ["pool-a", "pool-c"]


def test_one_document_that_cannot_be_read_keeps_all_from_being_written(tortie: Tortie) -> None:
    tortie.write("d/1.yaml", pool("pool-a", "10.65.0.0/16"))
    tortie.write("d/2.yaml", pool("pool-b", "10.66.0.0/16", ", natOutgoin: true"))
    said = tortie("apply", "-f", "d")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith(UNKNOWN + "spec.natOutgoin")
    assert tortie.names("ippool") == []


def test_an_object_that_stands_twice_is_taken_in_order(tortie: Tortie) -> None:
    file = tortie.write("f.yaml", POOL + "---\n" + pool("pool-a", more=", disabled: true"))
    warning = "Warning: IPPool(pool-a) stands twice, in f.yaml, document 1, line 1 and in f.yaml, document 2, line 6\n"
    assert tortie("apply", "-f", file) == (0, "Successfully applied 2 'IPPool' resource(s)\n", warning)
    assert [item["spec"].get("disabled") for item in tortie.items("ippool")] == [True]


@pytest.mark.parametrize("text", ["", "# nothing\n---\n", "null\n---\n", "[]", VERSION + "kind: IPPoolList\n"])
def test_a_file_without_resources(tortie: Tortie, text: str) -> None:
    file = tortie.write("f.yaml", text)
    assert tortie("apply", "-f", file) == (1, "", "no resources specified in file f.yaml\n")
    assert tortie("apply", "-f", file, "--skip-empty") == (0, "No resources specified\n", "")


def test_a_directory_with_an_empty_file(tortie: Tortie) -> None:
    tortie.write("d/1.yaml", POOL)
    tortie.write("d/2.yaml", "# nothing yet")
    assert tortie("apply", "-f", "d") == (1, "", "no resources specified in file d/2.yaml\n")
    assert tortie("apply", "-f", "d", "--skip-empty") == (0, "Successfully applied 1 'IPPool' resource(s)\n", "")
    tortie.write("e/1.yaml", "")
    assert tortie("apply", "-f", "e", "--skip-empty") == (0, "No resources specified\n", "")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("missing.yaml", COMMAND + "missing.yaml: No such file or directory"),
        ("missing/dir", COMMAND + "missing/dir: No such file or directory"),
        ("empty-directory", "no resources specified in directory empty-directory"),
        ("-", "no resources specified in file -"),
    ],
)
def test_what_cannot_be_read(tortie: Tortie, source: str, sentence: str) -> None:
    tortie.write("empty-directory/readme.txt", "no resource")
    assert tortie("apply", "-f", source) == (1, "", sentence + "\n")


def test_a_fault_on_standard_input_says_so(tortie: Tortie) -> None:
    said = tortie("apply", "-f", "-", stdin="a: b: c")
    assert (
        said.stderr
        == COMMAND + "standard input: document 1, line 1, column 5: mapping values are not allowed in this context\n"
    )


def test_directories(tortie: Tortie) -> None:
    for name in ("b.yaml", "a.YML", "c.json", "notes.txt", "sub/d.yaml", "sub/deeper/e.yaml"):
        tortie.write(f"d/{name}", pool(name.lower().replace("/", "-")))
    Path("d/loop").symlink_to(Path("d").absolute())

    def places(recursive: bool) -> list[str]:
        return [document.place for document in documents.read("d", recursive=recursive)]

    assert places(recursive=False) == ["d/a.YML", "d/b.yaml", "d/c.json"]
    assert places(recursive=True) == ["d/a.YML", "d/b.yaml", "d/c.json", "d/sub/d.yaml", "d/sub/deeper/e.yaml"]


def test_all_forms_of_many_objects(tortie: Tortie) -> None:
    a, b, c, d = (f"{{metadata: {{name: {name}}}, spec: {{cidr: 10.6{i}.0.0/16}}}}" for i, name in enumerate("abcd"))
    typed = (
        f"{{apiVersion: projectcalico.org/v3, kind: IPPoolList, metadata: {{resourceVersion: '7'}}, items: [{b}, {c}]}}"
    )
    whole = f"{{apiVersion: projectcalico.org/v3, kind: IPPool, {a[1:]}"
    file = tortie.write("f.any", f"---\n[{whole}, {typed}]\n---\n{whole.replace(a[1:], d[1:])}\n---\n")
    assert [(document.value["metadata"]["name"], document.place) for document in documents.read(file)] == [
        ("a", "f.any, document 1, line 2, item 1"),
        ("b", "f.any, document 1, line 2, item 2, item 1"),
        ("c", "f.any, document 1, line 2, item 2, item 2"),
        ("d", "f.any, document 2, line 4"),
    ]


def test_an_endless_file_is_refused(tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 1 << 20)
    assert tortie("apply", "-f", "/dev/zero") == (1, "", COMMAND + "/dev/zero: is larger than 1 MiB\n")
