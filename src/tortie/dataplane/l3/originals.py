"""The value every changed sysctl had before, kept in the state directory for `tortie node reset`.

The file is a list of lines, `path<TAB>value`, that grows by one line per first change; it is replaced as a whole by
one without the interfaces that are gone, at the start and whenever it has doubled.
"""

from __future__ import annotations

from pathlib import Path

import structlog

LOG = structlog.get_logger(__name__)

RECORD = "original-sysctls"  # its name in the state directory
PROC_SYS_NET = Path("/proc/sys/net")
_SLACK = 4096  # lines that may be stale before a rewrite is worth it


class Originals:
    """Path below /proc/sys/net -> first value seen. What cannot be written is kept in memory, and said."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._values = recorded(file)
        self._rewrite_at = 0
        self._rewrite()

    def record(self, path: str, value: str) -> None:
        """Remembers the first value of a path; later ones are ours."""
        if path in self._values:
            return
        self._values[path] = value
        if len(self._values) >= self._rewrite_at:
            self._rewrite()
            return
        self._append(f"{path}\t{value}\n")

    def _rewrite(self) -> None:
        self._values = {path: value for path, value in self._values.items() if PROC_SYS_NET.joinpath(path).exists()}
        self._rewrite_at = 2 * len(self._values) + _SLACK
        staged = self._file.with_name(f"{self._file.name}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            staged.write_text("".join(f"{path}\t{value}\n" for path, value in self._values.items()))
            staged.replace(self._file)
        except OSError as error:
            self._complain(error)

    def _append(self, line: str) -> None:
        try:
            with self._file.open("a") as file:
                file.write(line)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        LOG.warning("original sysctls are not recorded", file=str(self._file), reason=str(error))


def recorded(file: Path) -> dict[str, str]:
    """What the file tells, and nothing is written: path below /proc/sys/net -> first value seen."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        LOG.warning("record of original sysctls is unusable", file=str(file), reason=str(error))
        return {}
    # A line cut short by a crash has no tab, and is dropped.
    return {path: value for path, tab, value in (line.partition("\t") for line in reversed(lines)) if tab}
