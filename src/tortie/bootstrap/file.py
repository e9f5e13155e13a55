"""The text of a configuration file, of which nothing is expected but that it is small."""

from __future__ import annotations

from pathlib import Path

from tortie.errors import UsageError

MAX_BYTES = 128 << 10  # a chain of certificates has 10 KiB; reading so much YAML takes up to a second


def read_text(path: Path) -> str | None:
    """The text, or None if there is no such file. Raises UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"configuration file {path} cannot be read: it is larger than {MAX_BYTES >> 10} KiB")
        return content.decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} cannot be read: {error}") from error
