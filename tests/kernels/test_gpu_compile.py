from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
HERE = Path(__file__).parent


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_space_time_attention_compiles_for_hopper(tmp_path):
    environment = os.environ | {
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(HERE.parents[1] / "kernels"),
    }
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "gpu_compile.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    half, single = (
        [dict(re.findall(r"(\w+)=(\d+)", line)) for line in part.splitlines()]
        for part in re.split(r"torch\.\w+ \d+\n", done.stdout)[1:]
    )
    # Once each, for clips of three sizes; half types have a kernel more, for small cells.
    assert (len(half), len(single)) == (4, 3)
    for kernel in half:
        assert int(kernel["shared"]) <= 227 * 1024
        assert int(kernel["stack"]) <= 64  # registers spill there
        assert int(kernel["wide"]) > 0
        assert int(kernel["tensor_core"]) > 0
    for kernel in single:
        assert int(kernel["shared"]) <= 227 * 1024
        assert int(kernel["stack"]) <= 256
        assert kernel["tensor_core"] == "0"  # they would round to TF32
