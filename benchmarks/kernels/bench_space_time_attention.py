"""Space-time attention against gathering cells, dense attention and scattering back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks_kernels import space_time_attention


class Setting(NamedTuple):
    frames: int
    height: int
    width: int
    cells: tuple[int, int, int]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(self.height // stride, self.width // stride) for stride in (32, 16, 8)]

    @property
    def tokens(self) -> int:
        return sum(height * width for height, width in self.shapes)


ON_CUDA = {
    "512x896_T3_252": Setting(3, 512, 896, (2, 4, 8)),
    "512x896_T8_168": Setting(8, 512, 896, (1, 2, 4)),
    "512x896_T8_672": Setting(8, 512, 896, (2, 4, 8)),
    "512x896_T12_1008": Setting(12, 512, 896, (2, 4, 8)),
    "768x1280_T12_1008": Setting(12, 768, 1280, (2, 4, 8)),
}
ON_CPU = {
    "256x448_T2_168": Setting(2, 256, 448, (2, 4, 8)),
    "256x448_T8_168": Setting(8, 256, 448, (1, 2, 4)),
}
WHERE = [("cpu", name) for name in ON_CPU]
WHERE += [
    pytest.param(
        "cuda",
        name,
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    )
    for name in ON_CUDA
]
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


def cell_table(setting: Setting) -> Tensor:
    """Token numbers (cells, tokens of a cell in a frame), as TarViS gathers them."""
    columns = []
    start = 0
    for (height, width), side in zip(setting.shapes, setting.cells, strict=True):
        numbers = start + torch.arange(height * width).view(height, width)
        patches = numbers.unfold(0, side, side).unfold(1, side, side)
        columns.append(patches.reshape(-1, side * side))
        start += height * width
    return torch.cat(columns, dim=1)


def gather_attend_scatter(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, attend: Callable[..., Tensor]
) -> Tensor:
    batch, frames, _, heads, dim = q.shape
    cells, size = table.shape

    def gather(x: Tensor) -> Tensor:
        x = x[:, :, table].transpose(1, 2)  # (B, cells, T, size, M, D)
        return x.flatten(0, 1).flatten(1, 2).transpose(1, 2)

    out = attend(gather(q), gather(k), gather(v))
    out = out.transpose(1, 2).reshape(batch, cells, frames, size, heads, dim).transpose(1, 2)
    # A new tensor at the tokens' places; every token is in exactly one cell.
    return torch.empty_like(q).index_put(
        (_all(batch, q), _all(frames, q, 1), table[None, None]), out
    )


def attend_with_weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What ``nn.MultiheadAttention`` does when asked for its weights, as TarViS does by default."""
    weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)
    weights.mean(1)  # over heads: returned, and dropped by the caller
    return weights @ v


def flex_attend_by_document(setting: Setting, table: Tensor) -> Callable[..., Tensor]:
    """FlexAttention over all tokens sorted by cell, each attending within its own."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    size = setting.frames * table.shape[1]
    tokens = setting.frames * setting.tokens
    mask = create_block_mask(
        lambda b, h, q, k: q // size == k // size, None, None, tokens, tokens, device=table.device
    )
    compiled = torch.compile(flex_attention)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1).flatten(1, 2)[None] for x in (q, k, v))
        return compiled(q, k, v, block_mask=mask)[0].unflatten(1, (-1, size)).transpose(0, 1)

    return attend


def _all(count: int, like: Tensor, axis: int = 0) -> Tensor:
    shape = [1, 1, 1, 1]
    shape[axis] = count
    return torch.arange(count, device=like.device).view(shape)


def contenders(setting: Setting, device: str) -> dict[str, Callable[..., Tensor]]:
    table = cell_table(setting).to(device)

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return space_time_attention(q, k, v, setting.shapes, setting.cells)

    peers: dict[str, Callable[..., Tensor]] = {
        "gather_sdpa_scatter": F.scaled_dot_product_attention,
        "gather_weights_scatter": attend_with_weights,
    }
    if device == "cuda":
        peers["gather_flex_scatter"] = flex_attend_by_document(setting, table)
    return {"ours": ours} | {
        name: partial(gather_attend_scatter, table=table, attend=attend)
        for name, attend in peers.items()
    }


CONTENDERS = ("ours", "gather_sdpa_scatter", "gather_weights_scatter", "gather_flex_scatter")


@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("device", "name"), WHERE)
def bench_space_time_attention(name, contender, direction, device, bench, benchmark):
    if contender == "gather_flex_scatter" and device == "cpu":
        pytest.skip("FlexAttention is compared on a GPU")
    setting = (ON_CUDA | ON_CPU)[name]
    dtype = DTYPES[device]
    benchmark.group = f"space_time_attention {name} {direction} {device} {dtype}"
    packed = torch.randn(1, setting.frames, setting.tokens, 3, 8, 32, dtype=dtype, device=device)
    packed.requires_grad_(direction == "forward_backward")
    calls = contenders(setting, device)
    with torch.no_grad():
        qkv = packed.unbind(3)
        want, got = (calls[name](*qkv) for name in ("ours", contender))
        torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)
    weight = torch.randn_like(want)

    def forward() -> Tensor:
        return calls[contender](*packed.unbind(3))

    def forward_backward() -> Tensor:
        return torch.autograd.grad(forward(), packed, weight)[0]

    bench(forward if direction == "forward" else forward_backward)
