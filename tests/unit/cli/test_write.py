"""apply, create, replace and delete: calicoctl's sentences, streams and exit codes, over a real store."""

from __future__ import annotations

import re

import pytest

from tests.unit.cli.conftest import Said, Tortie
from tortie.cli.outcome import APPLY, CREATE, REPLACE, VALIDATE, Outcome, Verb, of_delete, of_write
from tortie.model.resource import ResourceKey

VERSION = "apiVersion: projectcalico.org/v3\n"
EXISTS = "resource already exists: IPPool({}) with error: <nil>"
MISSING = "resource does not exist: IPPool({}) with error: <nil>"


def pool(name: str, cidr: str, more: str = "") -> str:
    return f"---\n{VERSION}kind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}{more}}}\n"


def endpoint(name: str, namespace: str = "") -> str:
    place = f", namespace: {namespace}" if namespace else ""
    return (
        f"---\n{VERSION}kind: WorkloadEndpoint\nmetadata: {{name: node--1-tortie-{name}-eth0{place}}}\n"
        f"spec: {{node: node-1, orchestrator: tortie, workload: {name}, endpoint: eth0, interfaceName: cali{name}, "
        "ipNetworks: [10.65.0.24/32], profiles: [projectcalico-default-allow]}\n"
    )


def version(printed: str) -> str:
    """The resourceVersion in what `get -o yaml` printed."""
    found = re.search(r"resourceVersion: \W?([0-9]+)", printed)
    assert found is not None, printed
    return found[1]


NODE = f"---\n{VERSION}kind: Node\nmetadata: {{name: node-1}}\nspec: {{bgp: {{ipv4Address: 172.18.203.1/24}}}}\n"
A = pool("a", "10.65.0.0/16")
B = pool("b", "10.66.0.0/16")
C = pool("c", "10.67.0.0/16")


@pytest.mark.parametrize("verb", ["apply", "create"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (pool("a", "10.65.0.0/16", ", natOutgoin: true"), "natOutgoin"),
        (pool("a", "nonsense"), "valid subnet"),
        (pool("a", "10.65.0.0/16") + "---\nkind: [\n", "line 8"),
    ],
)
def test_what_is_refused_makes_no_store(tortie: Tortie, verb: str, text: str, said: str) -> None:
    refused = tortie(verb, "-f", "-", stdin=text)
    assert refused.code == 1
    assert said in refused.stdout + refused.stderr
    assert not tortie.store.exists()
    assert tortie(verb, "-f", "-", stdin=A).code == 0
    assert tortie.names("ippools") == ["a"]


@pytest.mark.parametrize(
    ("verb", "kinds", "total", "done", "errors", "expected"),
    [
        (APPLY, ["IPPool"], 1, 1, [], Outcome("Successfully applied 1 'IPPool' resource(s)", "")),
        (CREATE, ["IPPool", "Node"], 3, 3, [], Outcome("Successfully created 3 resource(s)", "")),
        (CREATE, ["IPPool"], 1, 0, ["e"], Outcome("", "failed to create 'IPPool' resource: [e]")),
        (APPLY, ["IPPool"], 2, 0, ["e", "f"], Outcome("", "failed to apply any 'IPPool' resources: [e f]")),
        (REPLACE, ["IPPool", "Node"], 2, 0, ["e", "f"], Outcome("", "failed to replace any resources: [e f]")),
        (REPLACE, ["IPPool"], 1, 0, ["e"], Outcome("", "failed to replace 'IPPool' resource: e")),
        (
            REPLACE,
            ["IPPool"],
            3,
            2,
            ["e"],
            Outcome("Partial success: replaced the first 2 out of 3 'IPPool' resources:", "hit error: e"),
        ),
        (VALIDATE, ["IPPool"], 2, 2, [], Outcome("Successfully validated 2 'IPPool' resource(s)", "")),
        (VALIDATE, ["IPPool", "Node"], 3, 0, ["e"], Outcome("", "failed to validate any resources: [e]")),
        (
            APPLY,
            ["IPPool"],
            3,
            2,
            ["e"],
            Outcome("Partial success: applied the first 2 out of 3 'IPPool' resources:", "hit error: [e]"),
        ),
        (
            APPLY,
            ["IPPool", "Node"],
            3,
            2,
            ["e"],
            Outcome("Partial success: applied the first 2 out of 3 resources:", "hit error: [e]"),
        ),
        (APPLY, ["IPPool"], 2, 1, ["e"], Outcome("", "hit error: [e]")),
    ],
)
def test_sentences_of_writing(
    verb: Verb, kinds: list[str], total: int, done: int, errors: list[str], expected: Outcome
) -> None:
    assert of_write(verb, kinds, total, done, errors) == expected


def test_sentences_of_deleting() -> None:
    assert of_delete(["IPPool"], 2, []) == Outcome("Successfully deleted 2 'IPPool' resource(s)", "")
    assert of_delete(["IPPool", "Node"], 1, ["e", "f"]) == Outcome(
        "Successfully deleted 1 resource(s)", "Failed to delete resource: e\nFailed to delete resource: f"
    )
    assert of_delete(["IPPool"], 0, ["e"]) == Outcome("", "Failed to delete 'IPPool' resource: e")


def test_apply_creates_and_updates(tortie: Tortie) -> None:
    file = tortie.write("f.yaml", A)
    assert tortie("apply", "-f", file) == (0, "Successfully applied 1 'IPPool' resource(s)\n", "")
    [before] = tortie.items("ippool")
    file = tortie.write("f.yaml", pool("a", "10.65.0.0/16", ", disabled: true") + NODE)
    assert tortie("apply", "-f", file) == (0, "Successfully applied 2 resource(s)\n", "")
    [after] = tortie.items("ippool")
    assert after["spec"] == {**before["spec"], "disabled": True}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_the_first_write_initialises_the_store(tortie: Tortie) -> None:
    tortie("apply", "-f", tortie.write("f.yaml", A))
    [information] = tortie.items("clusterinformation")
    assert information["spec"]["datastoreReady"] is True
    assert len(information["spec"]["clusterGUID"]) == 32


def test_applying_again_writes_nothing(tortie: Tortie) -> None:
    file = tortie.write("f.yaml", A + B)
    tortie("apply", "-f", file)
    before = tortie("get", "ippools", "-o", "json").stdout
    assert tortie("apply", "-f", file).code == 0
    assert tortie("get", "ippools", "-o", "json").stdout == before


def test_create_refuses_what_exists(tortie: Tortie) -> None:
    file = tortie.write("f.yaml", A)
    assert tortie("create", "-f", file) == (0, "Successfully created 1 'IPPool' resource(s)\n", "")
    failed = f"failed to create 'IPPool' resource: [{EXISTS.format('a')}]\n"
    assert tortie("create", "-f", file) == (1, "", failed)
    assert tortie("create", "-f", file, "--skip-exists") == (0, "Successfully created 1 'IPPool' resource(s)\n", "")
    partial = "Partial success: created the first 2 out of 3 'IPPool' resources:\n"
    assert tortie("create", "-f", tortie.write("f.yaml", A + B + C)) == (
        1,
        partial,
        f"hit error: [{EXISTS.format('a')}]\n",
    )
    assert tortie.names("ippool") == ["a", "b", "c"]


def test_create_takes_no_version(tortie: Tortie) -> None:
    file = tortie.write("f.yaml", A.replace("name: a", "name: a, resourceVersion: '7'"))
    assert tortie("create", "-f", file).stderr == (
        "failed to create 'IPPool' resource: [error with field Metadata.ResourceVersion = '7' "
        "(field must not be set for a Create request)]\n"
    )


def test_replace_counts_failures_as_failures(tortie: Tortie) -> None:
    tortie("create", "-f", tortie.write("f.yaml", A + B))
    both = pool("a", "10.65.0.0/16", ", disabled: true") + B
    assert tortie("replace", "-f", tortie.write("f.yaml", both)) == (
        0,
        "Successfully replaced 2 'IPPool' resource(s)\n",
        "",
    )
    assert tortie("replace", "-f", tortie.write("f.yaml", both + C)) == (
        1,
        "Partial success: replaced the first 2 out of 3 'IPPool' resources:\n",
        f"hit error: {MISSING.format('c')}\n",
    )
    assert tortie("replace", "-f", tortie.write("f.yaml", C)) == (
        1,
        "",
        f"failed to replace 'IPPool' resource: {MISSING.format('c')}\n",
    )


def test_a_version_replaces_that_version_and_no_other(tortie: Tortie) -> None:
    tortie("create", "-f", tortie.write("f.yaml", A))
    old = tortie("get", "ippool", "a", "-o", "yaml").stdout
    assert tortie("replace", "-f", "-", stdin=old.replace("spec:", "spec:\n  disabled: true")).code == 0
    new = tortie("get", "ippool", "a", "-o", "yaml").stdout
    assert tortie("replace", "-f", "-", stdin=old).stderr == (
        "failed to replace 'IPPool' resource: update conflict: IPPool(a) "
        f"(resourceVersion {version(old)} was given, {version(new)} is stored)\n"
    )


def test_a_change_that_the_kind_forbids(tortie: Tortie) -> None:
    tortie("create", "-f", tortie.write("f.yaml", A))
    assert tortie("apply", "-f", tortie.write("f.yaml", pool("a", "10.70.0.0/16"))).stderr == (
        "failed to apply 'IPPool' resource: [error with field spec.cidr = '10.70.0.0/16' "
        "(IPPool CIDR cannot be modified)]\n"
    )


def test_what_get_prints_can_be_applied(tortie: Tortie) -> None:
    tortie("create", "-f", tortie.write("f.yaml", A + B + NODE))
    for form in ("yaml", "json"):
        for words in (["ippools"], ["ippool", "a"], ["ippool", "a", "b"], ["-f", "f.yaml"]):
            printed = tortie("get", *words, "-o", form).stdout
            assert tortie("replace", "-f", "-", stdin=printed).code == 0, printed


class TestFieldsOfANewerCalico:
    """A field that the model does not know is an error, unless the stored object has it."""

    @pytest.fixture(autouse=True)
    def stored(self, tortie: Tortie) -> None:
        tortie("create", "-f", tortie.write("f.yaml", A))
        [document] = tortie.items("ippool")
        del document["metadata"]["resourceVersion"]
        document["spec"]["shiny"] = {"new": 1}
        tortie.put(ResourceKey("IPPool", "", "a"), document)

    def test_is_kept_with_a_warning(self, tortie: Tortie) -> None:
        text = pool("a", "10.65.0.0/16", ", disabled: true, shiny: {new: 2}")
        assert tortie("apply", "-f", tortie.write("f.yaml", text)) == (
            0,
            "Successfully applied 1 'IPPool' resource(s)\n",
            "Warning: IPPool(a): spec.shiny is kept, and has no effect here\n",
        )
        [item] = tortie.items("ippool")
        assert (item["spec"]["shiny"], item["spec"]["disabled"]) == ({"new": 2}, True)

    def test_is_kept_when_the_user_does_not_name_it(self, tortie: Tortie) -> None:
        text = pool("a", "10.65.0.0/16", ", disabled: true")
        assert tortie("replace", "-f", tortie.write("f.yaml", text)).stderr == ""
        [item] = tortie.items("ippool")
        assert (item["spec"]["shiny"], item["spec"]["disabled"]) == ({"new": 1}, True)

    def test_is_an_error_beside_another_unknown_field(self, tortie: Tortie) -> None:
        text = pool("a", "10.65.0.0/16", ", shiny: {new: 2}, dull: 1")
        assert tortie("apply", "-f", tortie.write("f.yaml", text)) == (
            1,
            "",
            "field in document is not recognized or is in the wrong location: spec.dull (in f.yaml: IPPool(a))\n",
        )

    def test_is_an_error_for_create(self, tortie: Tortie) -> None:
        text = pool("a", "10.65.0.0/16", ", shiny: {new: 2}")
        assert "wrong location: spec.shiny" in tortie("create", "-f", tortie.write("f.yaml", text)).stderr


class TestNamespaces:
    def test_of_objects(self, tortie: Tortie) -> None:
        tortie("create", "-f", tortie.write("f.yaml", endpoint("one") + endpoint("two", "blue")))
        tortie("create", "-n", "red", "-f", tortie.write("f.yaml", endpoint("three")))
        wide = tortie("get", "wep", "-A", "-o", "custom-columns=NAMESPACE,WORKLOAD").stdout
        assert [line.split() for line in wide.splitlines()[1:-1]] == [
            ["blue", "two"],
            ["default", "one"],
            ["red", "three"],
        ]

    @pytest.mark.parametrize(
        ("text", "words", "error"),
        [
            (endpoint("one", "blue"), ["-n", "red"], "resource namespace does not match client namespace. blue != red"),
            (A, ["-n", "red"], "IPPool is not namespaced"),
            (
                A.replace("name: a", "name: a, namespace: blue"),
                [],
                "namespace should not be specified for a non-namespaced resource. IPPool is not a namespaced resource",
            ),
        ],
    )
    def test_that_disagree(self, tortie: Tortie, text: str, words: list[str], error: str) -> None:
        kind = "IPPool" if "IPPool" in text else "WorkloadEndpoint"
        said = tortie("apply", "-f", tortie.write("f.yaml", text), *words)
        assert said == (1, "", f"failed to apply '{kind}' resource: [{error}]\n")
        assert not tortie.store.exists()


class TestDelete:
    @pytest.fixture(autouse=True)
    def stored(self, tortie: Tortie) -> None:
        tortie("create", "-f", tortie.write("f.yaml", A + B + NODE))

    def test_by_name(self, tortie: Tortie) -> None:
        assert tortie("delete", "ipp", "a", "x", "b") == (
            1,
            "Successfully deleted 2 'IPPool' resource(s)\n",
            f"Failed to delete 'IPPool' resource: {MISSING.format('x')}\n",
        )
        assert tortie.names("ippool") == []

    def test_by_file(self, tortie: Tortie) -> None:
        assert tortie("delete", "-f", "f.yaml") == (0, "Successfully deleted 3 resource(s)\n", "")
        assert tortie("delete", "-f", "f.yaml", "-s") == (0, "Successfully deleted 3 resource(s)\n", "")
        assert tortie("delete", "pool", "a") == (
            1,
            "",
            f"Failed to delete 'IPPool' resource: {MISSING.format('a')}\n",
        )

    def test_of_a_version(self, tortie: Tortie) -> None:
        old = tortie("get", "ippool", "a", "-o", "yaml").stdout
        tortie("apply", "-f", "-", stdin=pool("a", "10.65.0.0/16", ", disabled: true"))
        new = tortie("get", "ippool", "a", "-o", "yaml").stdout
        assert tortie("delete", "-f", "-", stdin=old) == (
            1,
            "",
            "Failed to delete 'IPPool' resource: update conflict: IPPool(a) "
            f"(resourceVersion {version(old)} was given, {version(new)} is stored)\n",
        )
        assert tortie("delete", "-f", "-", stdin=new).code == 0

    def test_never_deletes_any_version_when_one_is_meant(self, tortie: Tortie) -> None:
        said = tortie("delete", "-f", "-", stdin=A.replace("name: a", "name: a, resourceVersion: 7"))
        assert said.code == 1
        assert said.stderr == (
            "Failed to delete 'IPPool' resource: error with field metadata.resourceVersion = '7' "
            "(must be a decimal number in quotes) (in standard input)\n"
        )
        assert tortie.names("ippool") == ["a", "b"]

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ([], "name what to delete: KIND NAME..., or files with -f"),
            (["ippool"], "name what to delete: KIND NAME..., or files with -f"),
            (["ippool", ""], "resource name may not be empty"),
            (["ipool", "a"], "resource type 'ipool' is not supported; did you mean 'ippool'?"),
            (["ippool", "a", "-n", "red"], "IPPool is not namespaced"),
            (
                ["clusterinformation", "default"],
                "Failed to delete 'ClusterInformation' resource: "
                "operation Delete is not supported on ClusterInformation(default)",
            ),
        ],
    )
    def test_that_cannot_be(self, tortie: Tortie, words: list[str], sentence: str) -> None:
        assert tortie("delete", *words) == (1, "", sentence + "\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["apply"], 'required flag(s) "filename" not set'),
        (["create", "--bogus"], "unknown flag: --bogus"),
        (["replace", "-mx"], "unknown shorthand flag: 'm' in -m"),
        (["delete", "-f"], "flag needs an argument: 'f' in -f"),
        (["get", "--output"], "flag needs an argument: --output"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_1(tortie: Tortie, words: list[str], sentence: str) -> None:
    assert tortie(*words) == (1, "", sentence + "\n")


class TestUnusableStore:
    def test_that_is_a_directory(self, tortie: Tortie) -> None:
        tortie.store.mkdir()
        self.check(tortie("apply", "-f", tortie.write("f.yaml", A + B)), tortie)

    def test_that_is_no_database(self, tortie: Tortie) -> None:
        tortie.store.write_text("something else " * 100)
        self.check(tortie("apply", "-f", tortie.write("f.yaml", A + B)), tortie)

    def check(self, said: Said, tortie: Tortie) -> None:
        assert (said.code, said.stdout) == (1, "")
        assert said.stderr.startswith("failed to apply any 'IPPool' resources: [")
        assert str(tortie.store) in said.stderr

    def test_that_tortie_does_not_know(self, tortie: Tortie) -> None:
        tortie.environment["TORTIE_DATASTORE"] = "redis://localhost"
        said = tortie("apply", "-f", tortie.write("f.yaml", A))
        assert (said.code, said.stderr) == (1, "")
        assert said.stdout.startswith("Failed to create Calico API client: datastore 'redis' is not supported: ")


class TestBuiltIn:
    """A profile that is always there: what `get` shows of it may be among what a file holds."""

    NAME = "projectcalico-default-allow"

    @pytest.fixture(autouse=True)
    def shown(self, tortie: Tortie) -> None:
        assert tortie("create", "-f", tortie.write("a.yaml", A)).code == 0
        tortie.write("profiles.yaml", tortie("get", "profiles", "-o", "yaml").stdout)

    @pytest.mark.parametrize("words", [["validate"], ["create", "--skip-exists"]])
    def test_is_right(self, tortie: Tortie, words: list[str]) -> None:
        said = tortie(*words, "-f", "profiles.yaml")
        assert (said.code, said.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("word", "sentence"),
        [
            ("create", f"resource already exists: Profile({NAME}) with error: <nil>"),
            ("apply", f"operation Update is not supported on Profile({NAME}): it is built in"),
        ],
    )
    def test_cannot_be_written(self, tortie: Tortie, word: str, sentence: str) -> None:
        expected = f"failed to {word} 'Profile' resource: [{sentence}]\n"
        assert tortie(word, "-f", "profiles.yaml") == (1, "", expected)

    def test_is_no_excuse_for_what_is_wrong_otherwise(self, tortie: Tortie) -> None:
        wrong = f"{VERSION}kind: Profile\nmetadata: {{name: {self.NAME}}}\nspec: {{ingres: []}}\n"
        assert "spec.ingres" in tortie("validate", "-f", tortie.write("wrong.yaml", wrong)).stderr
