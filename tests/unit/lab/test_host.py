"""A daemon of a lab answers when it does so itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tortie.lab.host import answers


def test_who_listens_is_told_from_one_that_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    assert not answers(path, os.getpid()), "nobody is there"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert not answers(path, os.getpid()), "it does not listen yet"
        listener.listen()
        assert answers(path, os.getpid())
        assert not answers(path, os.getppid())
    assert not answers(path, os.getpid()), "it is gone, and left its file"
