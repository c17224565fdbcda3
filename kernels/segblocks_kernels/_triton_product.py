"""Matrix products of tiles as every kernel wants them: exact, and the same in the interpreter."""

from __future__ import annotations

import triton
import triton.language as tl

from ._backend import interpreter_on

# The interpreter keeps bfloat16 as raw bits and would multiply those.
INTERPRETED = tl.constexpr(interpreter_on())


@triton.jit
def product(a, b):
    """Matrix product in float32, exact for float32 operands as well (no TF32)."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32))
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def add_product(total, a, b):
    """``total`` plus the product, in one accumulator."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc=total)
    return tl.dot(a, b, acc=total, input_precision="ieee")
