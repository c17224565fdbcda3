"""Object queries from masks and points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention
from segblocks.nn.mlp import FeedForwardBlock, mlp
from segblocks.nn.point_lists import (
    PointLists,
    chunk_counts,
    concatenate_lists,
    grid_counts,
    list_cells,
)
from segblocks.nn.position import sine_position_2d
from segblocks.ops import ragged_cross_attention


class EncodedObjects(NamedTuple):
    """Queries for the hinted objects of a clip and for what is not among them.

    Args:
        background: (G, C), one query a cell of the background grid, row-major.
        objects: (Q, C), the queries of mask objects, ``queries_per_object`` each, then one a
            point.
        initial: (G + Q, C), background and objects before they were refined.
    """

    background: Tensor
    objects: Tensor
    initial: Tensor


class _RefinementLayer(nn.Module):
    """Queries attend to each other, then each to its own points; norms follow (TarViS)."""

    def __init__(self, embed_dim: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.self_attention = MultiheadAttention(embed_dim, num_heads)
        self.self_norm = nn.LayerNorm(embed_dim)
        self.cross_attention = MultiheadAttention(embed_dim, num_heads)
        self.cross_norm = nn.LayerNorm(embed_dim)
        self.feed_forward = FeedForwardBlock(embed_dim, hidden_dim)

    def forward(
        self,
        queries: Tensor,
        types: Tensor,
        keys: Tensor,
        values: Tensor,
        lists: PointLists,
        bias: Tensor,
    ) -> Tensor:
        """Refine queries (R, C) of the given type embeddings (R, C) by keys and values (N, C)."""

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return ragged_cross_attention(q, k, v, lists.indices, lists.offsets, bias)

        placed = (queries + types)[None]
        queries = self.self_norm(queries + self.self_attention(placed, placed, queries[None])[0])
        attended = self.cross_attention(queries + types, keys, values, attend)
        return self.feed_forward(self.cross_norm(queries + attended))


class ObjectEncoder(nn.Module):
    """Encode hinted objects, and the background around them, as queries.

    TarViS section 3.3. The mask of an object over all its reference frames is divided into chunks
    (:func:`~segblocks.nn.point_lists.chunk_counts`); each becomes a query, which starts as the
    mean of the stride-4 features under its chunk. The background is divided by a grid, minus the
    objects. A point becomes one query, from the features of all levels at that point. All queries
    then attend to each other and to their own points, several times.

    Pixels of a mask that share a feature cell are one key with the logarithm of their number
    added to its affinity: exactly the attention over all pixels, at up to a sixteenth of the
    keys, so that no random choice of points is needed. The features under masks get no gradient
    (official code); those under points do.

    Args:
        embed_dim: C (256).
        num_heads: M (8).
        num_layers: refinements (4).
        hidden_dim: of the feed-forward blocks (2048).
        strides: of the levels that a point is read from, coarse to fine; the last one is that of
            the mask features.
        grid: rows and columns of the background grid (4, 4).

    Example:
        >>> encoder = ObjectEncoder(32, 4, num_layers=1, hidden_dim=32)
        >>> features = {s: torch.zeros(2, 32, 64 // s, 64 // s) for s in (32, 16, 8, 4)}
        >>> masks = torch.ones(1, 2, 64, 64, dtype=torch.bool)
        >>> encoded = encoder(features, masks, queries_per_object=4)
        >>> encoded.background.shape, encoded.objects.shape
        (torch.Size([16, 32]), torch.Size([4, 32]))
    """

    no_decay_names = ("background_type", "mask_type", "point_type")

    def __init__(
        self,
        embed_dim: int = 256,
        num_heads: int = 8,
        *,
        num_layers: int = 4,
        hidden_dim: int = 2048,
        strides: Sequence[int] = (32, 16, 8, 4),
        grid: tuple[int, int] = (4, 4),
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.grid = grid
        self.background_type = nn.Parameter(torch.randn(embed_dim))
        self.mask_type = nn.Parameter(torch.randn(embed_dim))
        self.point_type = nn.Parameter(torch.randn(embed_dim))
        self.point_query = mlp(len(self.strides) * embed_dim, embed_dim, embed_dim, embed_dim)
        self.point_tokens = nn.ModuleDict(
            {str(stride): nn.Linear(embed_dim, embed_dim) for stride in self.strides}
        )
        self.layers = nn.ModuleList(
            _RefinementLayer(embed_dim, num_heads, hidden_dim) for _ in range(num_layers)
        )

    def forward(
        self,
        features: Mapping[int, Tensor],
        masks: Tensor | None = None,
        points: Tensor | None = None,
        point_frames: Tensor | None = None,
        *,
        queries_per_object: int = 4,
        max_points: int | None = None,
        generator: torch.Generator | None = None,
    ) -> EncodedObjects:
        """Encode the objects of one clip.

        Args:
            features: stride -> (R, C, h, w), the neck's maps of the R reference frames, that is
                of the frames that hold a mask or a point.
            masks: (O, R, H, W) bool at full padded resolution, each with at least one pixel;
                None for no mask objects.
            points: (P, 2) as (x, y) in pixels, (0, 0) the centre of the top-left one; or None.
            point_frames: (P,) which reference frame each point lies on.
            queries_per_object: of a mask object; the official code takes 4 in training (as the
                paper) and 8 at inference.
            max_points: p_max, the pixels that a query keeps, drawn at random (official: 2048 in
                training, 16384 at inference); None keeps all.
            generator: of that draw, on the CPU.

        Returns:
            The encoded objects.

        Raises:
            ValueError: neither masks nor points, or points without frames.
        """
        if masks is None and points is None:
            raise ValueError("ObjectEncoder: masks or points must be given, got neither")
        if points is not None and point_frames is None:
            raise ValueError("ObjectEncoder: points need point_frames, got None")
        lists = self._mask_lists(features, masks, queries_per_object, max_points, generator)
        cells = rearrange(features[self.strides[-1]].detach(), "r c h w -> (r h w) c")
        values = torch.cat((cells, cells.new_zeros(1, cells.shape[1])))
        queries = _weighted_mean(values, lists)
        num_points = 0
        if points is not None and point_frames is not None:
            at_points, tokens = self._read_points(features, points, point_frames)
            num_points = len(points)
            lists = concatenate_lists([lists, _own_tokens(tokens, len(values))])
            queries = torch.cat((queries, at_points))
            values = torch.cat((values, tokens.flatten(0, 1)))
        keys = self._place(values, features[self.strides[-1]], points)
        refined = self._refine(queries, values, keys, lists, num_points)
        num_background = self.grid[0] * self.grid[1]
        return EncodedObjects(refined[:num_background], refined[num_background:], queries)

    def _mask_lists(
        self,
        features: Mapping[int, Tensor],
        masks: Tensor | None,
        queries_per_object: int,
        max_points: int | None,
        generator: torch.Generator | None,
    ) -> PointLists:
        """The cells of background and mask objects; one after the last is all zero."""
        stride = self.strides[-1]
        frames, _, rows, columns = features[stride].shape
        size = (frames, rows * stride, columns * stride)
        if masks is None:
            masks = torch.zeros((0, *size), dtype=torch.bool, device=features[stride].device)
        background = grid_counts(~masks.any(dim=0), stride, self.grid)
        counts = torch.cat((background, chunk_counts(masks, stride, queries_per_object)))
        # A query without pixels attends to one all-zero key, as in the official code.
        nothing = ~counts.any(dim=1, keepdim=True)
        counts = torch.cat((counts, nothing.to(counts.dtype)), dim=1)
        return list_cells(counts, max_points, generator)

    def _place(self, values: Tensor, finest: Tensor, points: Tensor | None) -> Tensor:
        """Add to each key its position: that of its cell, or of the point that it belongs to."""
        frames, channels, height, width = finest.shape
        dtype = torch.promote_types(finest.dtype, torch.float32)
        code = sine_position_2d(
            height, width, channels, normalize=False, device=finest.device, dtype=dtype
        ).to(finest.dtype)
        num_cells = frames * height * width
        cells = values[:num_cells].unflatten(0, (frames, height, width)) + code
        parts = [cells.flatten(0, 2), values[num_cells : num_cells + 1]]
        if points is not None:
            x, y = _pixel_at_stride(points, self.strides[-1], finest)
            at_points = code[y, x].repeat_interleave(len(self.strides), dim=0)
            parts.append(values[num_cells + 1 :] + at_points)
        return torch.cat(parts)

    def _read_points(
        self, features: Mapping[int, Tensor], points: Tensor, frames: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Initial queries (P, C) and key tokens (P, L, C) of the points."""
        at_levels = []
        for stride in self.strides:
            x, y = _pixel_at_stride(points, stride, features[stride])
            at_levels.append(features[stride][frames, :, y, x])
        tokens = [
            self.point_tokens[str(stride)](feature)
            for stride, feature in zip(self.strides, at_levels, strict=True)
        ]
        return self.point_query(torch.cat(at_levels, dim=-1)), torch.stack(tokens, dim=1)

    def _refine(
        self, queries: Tensor, values: Tensor, keys: Tensor, lists: PointLists, num_points: int
    ) -> Tensor:
        num_background = self.grid[0] * self.grid[1]
        num_chunks = len(queries) - num_background - num_points
        types = torch.cat(
            (
                self.background_type.expand(num_background, -1),
                self.mask_type.expand(num_chunks, -1),
                self.point_type.expand(num_points, -1),
            )
        )
        bias = _log_counts(lists, keys)
        for layer in self.layers:
            queries = layer(queries, types, keys, values, lists, bias)
        return queries


def _log_counts(lists: PointLists, like: Tensor) -> Tensor:
    return lists.counts.to(torch.promote_types(like.dtype, torch.float32)).log()


def _weighted_mean(cells: Tensor, lists: PointLists) -> Tensor:
    """The mean feature of the pixels in each list.

    Attention of a zero query: every pixel has the same weight, and no cell is copied.
    """
    cells = cells[:, None]
    query = cells.new_zeros(1, 1, 1).expand(len(lists.offsets) - 1, 1, cells.shape[-1])
    bias = _log_counts(lists, cells)
    # Initial queries have the precision of the features, not that of products.
    with torch.autocast(cells.device.type, enabled=False):
        mean = ragged_cross_attention(query, cells, cells, lists.indices, lists.offsets, bias)
    return mean.squeeze(1)


def _own_tokens(tokens: Tensor, start: int) -> PointLists:
    """Lists in which each point owns its L tokens, which begin at index ``start``."""
    num_points, num_levels = tokens.shape[:2]
    device = tokens.device
    indices = start + torch.arange(num_points * num_levels, device=device)
    offsets = torch.arange(num_points + 1, device=device) * num_levels
    return PointLists(indices, offsets, torch.ones_like(indices))


def _pixel_at_stride(points: Tensor, stride: int, level: Tensor) -> tuple[Tensor, Tensor]:
    cell = ((points + 0.5) / stride).floor().long()
    return cell[:, 0].clamp(0, level.shape[-1] - 1), cell[:, 1].clamp(0, level.shape[-2] - 1)
