"""Compile the kernels for an absent GPU, through their real launchers.

As a test it runs itself in a process of its own, because a process either interprets Triton or
compiles it; that prints a line of JSON for each compilation.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")


class _AbsentGpu:
    """As much of a driver as compilation asks for."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of stack, which is where registers spill."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", report)
    assert found is not None
    return int(found[1]), int(found[2])


class _CompileOnly:
    """A kernel that, launched, is only compiled; known results are not printed again."""

    def __init__(self, name: str, kernel: Any) -> None:
        self._name, self._kernel = name, kernel
        self._seen: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            compiled = self._kernel.warmup(*args, grid=grid, **kwargs)
            if any(compiled is other for other in self._seen):
                return
            self._seen.append(compiled)
            registers, stack = _resources(compiled.asm["cubin"])
            ptx = compiled.asm["ptx"]
            figures = {
                "kernel": self._name,
                "registers": registers,
                "stack": stack,
                "shared": compiled.metadata.shared,
                "wide": len(re.findall(r"ld\.global\.\S*v4", ptx)) + ptx.count("cp.async.cg"),
                "tensor_core": ptx.count("wgmma.mma_async") + ptx.count("mma.sync"),
                "atomic": len(re.findall(r"\b(?:red|atom)\.", ptx)),
            }
            print(json.dumps(figures), flush=True)

        return launch


def _compile(dtype: torch.dtype, keys: int, dim: int, *, product: bool, soft: bool) -> None:
    from segblocks_kernels.masked_cross_attention import op, triton_backward, triton_forward
    from segblocks_kernels.masked_cross_attention.triton_pack import pack

    q = torch.empty(2, 100, 8, dim, dtype=dtype)
    k, v = torch.empty(2, 2, keys, 8, dim, dtype=dtype)
    mask = torch.empty(2, 100, 256, dtype=dtype) if product else torch.empty(2, 100, keys)
    features = torch.empty(2, keys, 256, dtype=dtype) if product else None
    bias = torch.empty(2, 100, keys) if soft else None
    bias_scale = torch.empty(8) if soft else None
    lse, *packed = op._saved(q, k, mask, True)
    pack(mask, features, *packed)
    out = torch.empty_like(q)
    triton_forward.forward(q, k, v, tuple(packed), bias, bias_scale, out, lse, 0.2)
    inputs = (out, q, k, v, tuple(packed), bias, bias_scale, out, lse)
    triton_backward.backward(*inputs, 0.2, [True, True, True, soft, soft])


def _main() -> None:
    from triton.runtime import driver

    from segblocks_kernels.masked_cross_attention import (
        triton_backward,
        triton_forward,
        triton_pack,
        triton_tiles,
    )

    triton_tiles._PROCESSORS_WITHOUT_GPU = 132
    driver.set_active(_AbsentGpu())
    for module, name in (
        (triton_pack, "pack_kernel"),
        (triton_pack, "pack_product_kernel"),
        (triton_forward, "split_kernel"),
        (triton_forward, "merge_kernel"),
        (triton_backward, "query_kernel"),
        (triton_backward, "key_kernel"),
        (triton_backward, "bias_kernel"),
    ):
        setattr(module, name, _CompileOnly(name, getattr(module, name)))
    # Sizes that Triton would treat apart if it could: divisible by 16, neither.
    for keys in (19440, 5377):
        _compile(torch.bfloat16, keys, 32, product=True, soft=False)
    _compile(torch.float32, 5377, 24, product=False, soft=True)


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_compiles_for_hopper(tmp_path):
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join((str(root / "kernels"), str(root))),
    }
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = [json.loads(line) for line in done.stdout.splitlines()]
    names = [kernel["kernel"] for kernel in compiled]
    half, single = compiled[:5], compiled[5:]
    # Once each for bfloat16, though the number of keys differs.
    attention = ["split_kernel", "merge_kernel", "query_kernel", "key_kernel"]
    assert names == ["pack_product_kernel", *attention, "pack_kernel", *attention, "bias_kernel"]
    for kernel in compiled:
        assert kernel["shared"] <= 227 * 1024
        assert kernel["stack"] <= 256  # registers spill there
        assert kernel["atomic"] == 0
    for kernel in half:
        assert kernel["wide"] > 0
        assert kernel["tensor_core"] > 0 or kernel["kernel"] == "merge_kernel"
    for kernel in single:
        assert kernel["tensor_core"] == 0  # they would round to TF32


if __name__ == "__main__":
    _main()
