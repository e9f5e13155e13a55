"""`tortie validate`: what apply would say of files, without a datastore."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Tortie
from tests.unit.cli.test_write import NODE, A, B, pool

BAD = pool("bad", "10.65.0.0/40")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A, (0, "Successfully validated 1 'IPPool' resource(s)\n", "")),
        (A + B, (0, "Successfully validated 2 'IPPool' resource(s)\n", "")),
        (A + NODE, (0, "Successfully validated 2 resource(s)\n", "")),
    ],
)
def test_what_is_right(tortie: Tortie, text: str, expected: tuple[int, str, str]) -> None:
    assert tortie("validate", "-f", tortie.write("f.yaml", text)) == expected
    assert not tortie.store.exists()


@pytest.mark.parametrize(
    ("text", "stdout", "stderr"),
    [
        (BAD, "", "failed to validate 'IPPool' resource: [error with field spec.cidr = '10.65.0.0/40' "),
        (BAD + BAD.replace("bad", "b2"), "", "failed to validate any 'IPPool' resources: [error with field spec.cidr "),
        (
            BAD + A + B,
            "Partial success: validated the first 2 out of 3 'IPPool' resources:\n",
            "hit error: [error with field spec.cidr = '10.65.0.0/40' (IPPool CIDR must be a valid subnet) ",
        ),
        (BAD + NODE, "", "hit error: [error with field spec.cidr "),
        (
            pool("a", "10.65.0.0/16", ", foo: 1"),
            "",
            "field in document is not recognized or is in the wrong location: ",
        ),
        (pool("a", "10.65.0.0/16", ", disabled: 3"), "", "failed to execute command: error with field spec.disabled "),
    ],
)
def test_what_is_wrong(tortie: Tortie, text: str, stdout: str, stderr: str) -> None:
    said = tortie("validate", "-f", tortie.write("f.yaml", text))
    assert (said.code, said.stdout) == (1, stdout)
    assert said.stderr.startswith(stderr)
    assert not tortie.store.exists()


def test_no_configuration_is_looked_at(tortie: Tortie) -> None:
    tortie.environment["TORTIE_DATASTORE"] = "redis://nowhere"
    assert tortie("validate", "-f", tortie.write("f.yaml", A), "-c", "missing.toml").code == 0


class TestGlobalOptions:
    """Taken before the command's name and after it."""

    def test_log_level(self, tortie: Tortie) -> None:
        file = tortie.write("f.yaml", A)
        unknown = "unknown log level: loud, expected one of: panic, fatal, error, warn, info, debug\n"
        assert tortie("-l", "loud", "validate", "-f", file) == (1, "", unknown)
        assert tortie("validate", "-f", file, "--log-level", "loud") == (1, "", unknown)
        assert tortie("--log-level", "panic", "validate", "-f", file).code == 0

    def test_context(self, tortie: Tortie) -> None:
        file = tortie.write("f.yaml", A)
        note = "Warning: --context blue names a context of Kubernetes, and no datastore here: ignored\n"
        assert tortie("--context", "blue", "validate", "-f", file).stderr == note
        assert tortie("validate", "-f", file, "--context=blue").stderr == note
