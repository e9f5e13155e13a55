"""What tortie keeps in its directories: known by name, so that nothing else there is touched."""

from __future__ import annotations

from pathlib import Path

from tortie.access import Access
from tortie.bootstrap import Bootstrap
from tortie.dataplane.l3.governed import GOVERNED
from tortie.dataplane.l3.originals import RECORD

_STATE = ("snapshot.json", "policy-was-in-force", "accepted-cluster", "drained", GOVERNED, RECORD)
_BESIDE = (".new", ".tmp")  # of a file that was being replaced


def state(settings: Bootstrap) -> list[Path]:
    names = [f"{name}{end}" for name in _STATE for end in ("", *_BESIDE)]
    return _with_directory(Path(settings.state_dir), names)


def run(settings: Bootstrap) -> list[Path]:
    return _with_directory(Path(settings.run_dir), [settings.api_socket.name])


def datastore(settings: Bootstrap) -> list[Path]:
    """The files of a local one; another is not this host's to remove."""
    path = Access(url=settings.datastore).local_file
    return [file for end in ("", "-wal", "-shm") if path and (file := Path(f"{path}{end}")).exists()]


def remove(found: list[Path]) -> None:
    for path in found:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _with_directory(directory: Path, names: list[str]) -> list[Path]:
    """The files of these names, and their directory unless something else is in it."""
    if not directory.is_dir():
        return []
    found = [file for name in names if (file := directory / name).exists()]
    return found if set(directory.iterdir()) - set(found) else [*found, directory]
