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
            target = source.with_suffix(".o")
            # Debian keeps <asm/types.h> of the build machine below its multi-arch directory.
            include = f"-I/usr/include/{platform.machine()}-linux-gnu"
            subprocess.run([*CLANG, include, "-c", str(source), "-o", str(target)], check=True)
