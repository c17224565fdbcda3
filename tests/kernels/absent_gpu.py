"""Compile Triton kernels for an absent GPU: the interpreter accepts what the compiler may not.

A process either interprets Triton or compiles it, so a script of its own calls `compile_only` and
then the real launchers, and a test calls `compiled_by`. It relies on Triton's ``warmup`` and on its
driver being replaceable.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]


def compile_only(*kernels: tuple[ModuleType, str], capability: int = 90) -> None:
    """Have kernels only compiled when they are launched, and print a line of JSON for each result.

    Args:
        kernels: modules, and the names there.
        capability: of the GPU, 90 for sm_90.
    """
    from triton.runtime import driver

    driver.set_active(_AbsentGpu(capability))
    for module, name in kernels:
        setattr(module, name, _CompileOnly(name, getattr(module, name)))


def compiled_by(script: str, cache: Path) -> list[dict[str, Any]]:
    """Run a script of this folder, and return what it has compiled.

    Args:
        script: name of the file.
        cache: an empty folder for Triton.
    """
    environment = os.environ | {
        "TRITON_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join((str(ROOT / "kernels"), str(ROOT))),
    }
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name(script))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class _AbsentGpu:
    """As much of a driver as compilation asks for."""

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class _CompileOnly:
    """A kernel that, launched, is only compiled; known results are not printed again."""

    def __init__(self, name: str, kernel: Any) -> None:
        self._name, self._kernel = name, kernel
        self._seen: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            compiled = self._kernel.warmup(*args, grid=grid, **kwargs)
            if all(compiled is not other for other in self._seen):
                self._seen.append(compiled)
                print(json.dumps({"kernel": self._name, **_figures(compiled)}), flush=True)

        return launch


def _figures(compiled: Any) -> dict[str, int]:
    ptx = compiled.asm["ptx"]
    registers, stack = _resources(compiled.asm["cubin"])
    loads = len(re.findall(r"ld\.global\.\S*v4", ptx))
    return {
        "registers": registers,
        "stack": stack,
        "shared": compiled.metadata.shared,
        "loads": loads,
        "wide": loads + ptx.count("cp.async.cg"),
        "tensor_core": ptx.count("wgmma.mma_async") + ptx.count("mma.sync"),
        "atomics": len(re.findall(r"\b(?:red|atom)\.", ptx)),
        "adds": len(re.findall(r"(?:red|atom)\.global\.\S*add", ptx)),
        "vector_adds": len(re.findall(r"(?:red|atom)\.global\.\S*add\S*\.v4\.f32", ptx)),
    }


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of stack, which is where registers spill."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", report)
    assert found is not None, report
    return int(found[1]), int(found[2])
