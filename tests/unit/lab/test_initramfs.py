"""The guest's root file system: an archive that busybox itself can read."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from tortie.lab import initramfs
from tortie.lab.guest import BUSYBOX

MODULES = {path.rpartition("/")[2]: path.encode() for path in initramfs.MODULES}
NETWORK = ["link set eth0 up", "addr add 10.65.0.22/32 dev eth0", "addr add 2001:db8::22/128 dev eth0 nodad"]


@pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox is not installed")
def test_every_file_is_in_the_archive_as_it_was_given(tmp_path: Path) -> None:
    archive = gzip.decompress(initramfs.build(b"#!busybox", MODULES, NETWORK))
    subprocess.run([BUSYBOX, "cpio", "-i"], input=archive, cwd=tmp_path, check=True, capture_output=True)
    files = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*")}
    assert {name for name, path in files.items() if path.is_dir()} == {"bin", "dev", "modules", "proc", "sys"}
    assert files.pop("bin/busybox").read_bytes() == b"#!busybox"
    assert {name: files[f"modules/{name}"].read_bytes() for name in MODULES} == MODULES
    assert files["init"].stat().st_mode & 0o111


def test_the_script_loads_the_modules_in_order_and_configures_the_network() -> None:
    script = gzip.decompress(initramfs.build(b"", MODULES, NETWORK)).decode()
    modules = script.partition("for module in ")[2].partition(";")[0].split()
    assert modules == list(MODULES)
    assert (
        "ip link set lo up\n"
        "ip link set eth0 up\n"
        "ip addr add 10.65.0.22/32 dev eth0\n"
        "ip -6 addr add 2001:db8::22/128 dev eth0\n"
    ) in script


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
def test_the_script_is_valid_shell() -> None:
    script = gzip.decompress(initramfs.build(b"", MODULES, NETWORK)).decode()
    script = "#!/bin" + script.partition("#!/bin")[2].partition("\0")[0]
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
