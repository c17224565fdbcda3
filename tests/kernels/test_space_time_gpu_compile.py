from __future__ import annotations

import sys

import pytest

from tests.kernels.absent_gpu import compiled_by

pytest.importorskip("triton")


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_space_time_attention_compiles_for_hopper(tmp_path):
    compiled = compiled_by("space_time_gpu_compile.py", tmp_path)
    # Once each, for clips of three sizes; half types have a kernel more, for small cells.
    assert len(compiled) == 7
    half, single = compiled[:4], compiled[4:]
    assert "resident_kernel" in {kernel["kernel"] for kernel in half}
    assert "resident_kernel" not in {kernel["kernel"] for kernel in single}
    for kernel in half:
        assert kernel["shared"] <= 227 * 1024
        assert kernel["stack"] <= 64  # registers spill there
        assert kernel["wide"] > 0
        assert kernel["tensor_core"] > 0
    for kernel in single:
        assert kernel["shared"] <= 227 * 1024
        assert kernel["stack"] <= 256
        assert kernel["tensor_core"] == 0  # they would round to TF32
