"""Build hook: compiles every `*.bpf.c` beside its module, so that no compiler is needed on the host.

The object is part of the wheel; a source checkout installed with `pip install -e .` gets it in place.
"""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# mcpu=v2 keeps the object loadable on every kernel that tortie supports (v3's JMP32 needs 5.1 and gains nothing here).
CLANG = ["clang", "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v2"]


class CompileBpf(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for source in sorted(Path(self.root, "src").rglob("*.bpf.c")):
            compile_bpf(source)


def compile_bpf(source: Path) -> None:
    # Debian keeps <asm/types.h> of the build machine below its multi-arch directory.
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    command = [*CLANG, include, "-c", str(source), "-o", str(source.with_suffix(".o"))]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise SystemExit(f"{source.name} cannot be compiled: clang is missing (Debian: apt install clang)") from None
    except subprocess.CalledProcessError:
        raise SystemExit(f"{source} does not compile, see above") from None
