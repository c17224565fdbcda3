from __future__ import annotations

import sys

import pytest

from tests.kernels.absent_gpu import compiled_by

pytest.importorskip("triton")


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_compiles_for_hopper(tmp_path):
    compiled = compiled_by("masked_gpu_compile.py", tmp_path)
    names = [kernel["kernel"] for kernel in compiled]
    half, single = compiled[:5], compiled[5:]
    # Once each for bfloat16, though the number of keys differs.
    attention = ["split_kernel", "merge_kernel", "query_kernel", "key_kernel"]
    assert names == ["pack_product_kernel", *attention, "pack_kernel", *attention, "bias_kernel"]
    for kernel in compiled:
        assert kernel["shared"] <= 227 * 1024
        assert kernel["stack"] <= 256  # registers spill there
        assert kernel["atomics"] == 0
    for kernel in half:
        assert kernel["wide"] > 0
        assert kernel["tensor_core"] > 0 or kernel["kernel"] == "merge_kernel"
    for kernel in single:
        assert kernel["tensor_core"] == 0  # they would round to TF32
