"""The operators of segblocks in terms of PyTorch's own, for programs that leave the house.

What each operator keeps for its backward is left empty: an exported program has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segblocks_kernels._check import as_pairs
from segblocks_kernels.masked_cross_attention.reference import (
    attended,
    masked_cross_attention_reference,
)
from segblocks_kernels.ms_deform_attn.reference import ms_deform_attn_reference
from segblocks_kernels.ms_deform_attn_fused.reference import ms_deform_attn_fused_reference
from segblocks_kernels.space_time_attention.cells import make_cells
from segblocks_kernels.space_time_attention.reference import (
    add_positions,
    space_time_attention_reference,
)


class SpelledOut(TorchFunctionMode):
    """While it is on, the operators of segblocks run, and are traced, as PyTorch's own.

    Example:
        >>> from segblocks.ops import ms_deform_attn
        >>> value, at = torch.ones(1, 6, 1, 4), torch.full((1, 1, 1, 1, 1, 2), 0.5)
        >>> with SpelledOut():
        ...     ms_deform_attn(value, [(2, 3)], at, torch.ones(1, 1, 1, 1, 1)).shape
        torch.Size([1, 1, 4])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function, or what stands for it."""
        return _SPELLED.get(func, func)(*args, **(kwargs or {}))


def _ms_deform_attn(
    value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor, backend: str
) -> Tensor:
    return ms_deform_attn_reference(value, as_pairs(spatial_shapes), locations, weights)


def _ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    backend: str,
) -> Tensor:
    shapes = as_pairs(spatial_shapes)
    return ms_deform_attn_fused_reference(value, shapes, reference_points, offsets, logits)


def _space_time_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spatial_shapes: Sequence[int],
    cell_sizes: Sequence[int],
    scale: float,
    backend: str,
    q_position: Tensor | None = None,
    k_position: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    q, k = add_positions(q, k, q_position, k_position)
    cells = make_cells(spatial_shapes, cell_sizes)
    return space_time_attention_reference(q, k, v, cells, scale), q.new_empty(0)


def _masked_cross_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    features: Tensor | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keep = None if mask is None else attended(mask, features)
    out = masked_cross_attention_reference(q, k, v, keep, bias, bias_scale, scale)
    return out, q.new_empty(0), q.new_empty(0, dtype=torch.bool), q.new_empty(0)


def _ragged_cross_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    # The keys that a row lists, once or more often, as a dense bias: exact, since the exponentials
    # of an affinity and of its bias multiply. Edges by themselves would be gathered in pieces.
    num_rows, num_keys, num_edges = q.shape[0], k.shape[0], indices.shape[0]
    ends = torch.zeros(num_edges + 1, dtype=torch.int64, device=q.device)
    ends = ends.index_add(0, offsets[1:-1], torch.ones_like(offsets[1:-1]))
    rows = ends.cumsum(0)[:num_edges]
    shares = torch.ones_like(indices, dtype=q.dtype) if bias is None else bias.to(q.dtype).exp()
    dense = q.new_zeros(num_rows * num_keys).index_add(0, rows * num_keys + indices, shares)
    dense = dense.view(1, num_rows, num_keys)
    nothing = ~(dense > 0).any(-1, keepdim=True)
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    mask = torch.where(nothing, 0.0, dense.log())
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return out[0].masked_fill(nothing, 0.0).transpose(0, 1), out.new_empty(0)


_SPELLED: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.segblocks.ms_deform_attn.default: _ms_deform_attn,
    torch.ops.segblocks.ms_deform_attn_fused.default: _ms_deform_attn_fused,
    torch.ops.segblocks.space_time_attention.default: _space_time_attention,
    torch.ops.segblocks.masked_cross_attention.default: _masked_cross_attention,
    torch.ops.segblocks.ragged_cross_attention.default: _ragged_cross_attention,
}
