"""`tortie version`, and the check of the cluster's version before a command reaches the datastore."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.test_write import NODE, A
from tortie import __version__
from tortie.cli.cluster_version import CALICO_VERSION, fits
from tortie.datastore.cluster import CLUSTER_INFORMATION
from tortie.model.resource import API_VERSION

CLIENT = f"Client Version:   {CALICO_VERSION}\nGit commit:       tortie-{__version__}\n"


def put_information(tortie: Tortie, **spec: object) -> None:
    document = {"apiVersion": API_VERSION, "kind": "ClusterInformation", "metadata": {"name": "default"}, "spec": spec}
    tortie.put(CLUSTER_INFORMATION, document)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v3.32.1", True),
        ("v3.32.0", True),
        ("3.32.9", True),
        ("v3.32.1-37-g0123456789ab", True),
        ("v3.33.0", True),
        ("v3.34.0-0.dev-67-g87c15906f2", True),
        ("v3.31.4", False),
        ("v3.9.0", False),
        ("v2.6.12", False),
        ("v4.0.0", False),
        ("v4.32.1", False),
        ("master", False),
        ("3", False),
    ],
)
def test_versions_that_fit(version: str, expected: bool) -> None:
    assert fits(version) is expected


class TestVersion:
    def test_of_the_client_alone(self, tortie: Tortie) -> None:
        assert tortie("version", "--client") == (0, CLIENT, "")
        assert not tortie.store.exists()

    def test_without_a_datastore(self, tortie: Tortie) -> None:
        assert tortie("version") == (0, CLIENT + "Unable to detect installed Calico version\n", "")
        assert not tortie.store.exists()

    def test_of_a_cluster(self, tortie: Tortie) -> None:
        tortie("create", "-f", tortie.write("f.yaml", A))
        assert tortie("version") == (
            0,
            CLIENT + "Cluster Version:  unknown\nCluster Type:     tortie\n",
            "",
        )

    def test_is_never_checked(self, tortie: Tortie) -> None:
        put_information(tortie, calicoVersion="v2.0.0", clusterType="k8s,bgp")
        assert tortie("version").stdout == CLIENT + "Cluster Version:  v2.0.0\nCluster Type:     k8s,bgp\n"

    def test_of_a_cluster_that_says_nothing(self, tortie: Tortie) -> None:
        put_information(tortie)
        assert tortie("version").stdout == CLIENT + "Cluster Version:  unknown\nCluster Type:     unknown\n"

    def test_values_begin_in_column_19(self, tortie: Tortie) -> None:
        put_information(tortie, clusterType="x")
        assert {line[:18].rstrip()[-1] for line in tortie("version").stdout.splitlines()} == {":"}

    @pytest.mark.parametrize("poll", ["x", "5", "1d"])
    def test_bad_poll(self, tortie: Tortie, poll: str) -> None:
        assert tortie("version", "--poll", poll) == (1, "", f"invalid poll duration specified: {poll}\n")


class TestCheck:
    MISMATCH = (
        f"version mismatch.\nClient Version:   {CALICO_VERSION}\nCluster Version:  v3.20.0\n"
        "Use --allow-version-mismatch to override\n"
    )

    @pytest.fixture(autouse=True)
    def stored(self, tortie: Tortie) -> None:
        tortie("create", "-f", tortie.write("n.yaml", NODE))
        put_information(tortie, calicoVersion="v3.20.0", datastoreReady=True)
        tortie.write("f.yaml", A)

    @pytest.mark.parametrize(
        "words",
        [
            ["apply", "-f", "f.yaml"],
            ["create", "-f", "f.yaml"],
            ["replace", "-f", "f.yaml"],
            ["delete", "-f", "n.yaml"],
            ["delete", "node", "node-1"],
            ["patch", "node", "node-1", "-p", "{}"],
            ["label", "node", "node-1", "a=b"],
        ],
    )
    def test_of_another_version(self, tortie: Tortie, words: list[str]) -> None:
        assert tortie(*words) == (1, "", self.MISMATCH)
        assert tortie("--allow-version-mismatch", *words).stderr != self.MISMATCH
        assert tortie(*words, "--allow-version-mismatch").stderr != self.MISMATCH

    def test_commands_beyond_calicoctl_look_too(self, tortie: Tortie) -> None:
        assert tortie("diff", "-f", "f.yaml") == (2, "", self.MISMATCH)
        assert tortie("diff", "-f", "f.yaml", "--allow-version-mismatch").code == 1
        assert tortie("edit", "node", "node-1") == (1, "", f"Error: {self.MISMATCH}")

    def test_validate_never_looks(self, tortie: Tortie) -> None:
        assert tortie("validate", "-f", "f.yaml").code == 0

    def test_of_a_later_one(self, tortie: Tortie) -> None:
        put_information(tortie, calicoVersion="v3.33.2")
        assert tortie("apply", "-f", "f.yaml").code == 0

    def test_of_what_cannot_be_read(self, tortie: Tortie) -> None:
        put_information(tortie, calicoVersion=3)
        said = tortie("apply", "-f", "f.yaml")
        assert (said.code, said.stdout) == (1, "")
        first, last = said.stderr.splitlines()
        assert first.startswith(
            "unable to get Cluster Information to verify version mismatch: ClusterInformation(default)"
        )
        assert last == "Use --allow-version-mismatch to override"
