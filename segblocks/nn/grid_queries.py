"""Queries from what a frame shows, cell by cell (GvSeg's VIS)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.nn.mlp import mlp


class GridQueries(nn.Module):
    """Make queries of the features of a frame in the cells of a grid (GvSeg eq. 8).

    The frame is divided into S x S cells, the features of each are averaged, and ``q = FFN(f)``
    for N of them, chosen at random: anew for each clip in training, once for all in evaluation.
    The order of the queries means nothing, so that those of two clips have to be matched.

    Args:
        embed_dim: C.
        num_queries: N.
        cells: S. The paper does not say; the default is two more than N needs, 12 for 100.
        hidden_dim: of the feed-forward network, which ends with a norm.
        seed: of the choice in evaluation.

    Raises:
        ValueError: fewer cells than queries.

    Example:
        >>> queries = GridQueries(8, 4, hidden_dim=16).eval()
        >>> content, cells = queries(torch.randn(2, 8, 9, 15))
        >>> content.shape, cells.shape
        (torch.Size([2, 4, 8]), torch.Size([2, 4]))
    """

    order: Tensor

    def __init__(
        self,
        embed_dim: int = 256,
        num_queries: int = 100,
        *,
        cells: int | None = None,
        hidden_dim: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.cells = math.ceil(math.sqrt(num_queries)) + 2 if cells is None else cells
        if not 1 <= num_queries <= self.cells**2:
            raise ValueError(
                f"GridQueries: num_queries must be from 1 to {self.cells**2}, the cells, "
                f"got {num_queries}"
            )
        self.feed_forward = nn.Sequential(
            mlp(embed_dim, hidden_dim, embed_dim), nn.LayerNorm(embed_dim)
        )
        chooser = torch.Generator().manual_seed(seed)
        self.register_buffer("order", torch.randperm(self.cells**2, generator=chooser))

    def forward(
        self,
        features: Tensor,
        *,
        num_queries: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Make the queries of one frame of each clip.

        Args:
            features: (B, C, h, w), as a rule at stride 16 of the first frame.
            num_queries: fewer than N, where other queries take part; None takes N.
            generator: chooses in training, on the CPU.

        Returns:
            The queries (B, N, C), and the cell of each (B, N) int64, row-major.

        Raises:
            ValueError: more than N queries.
        """
        wanted = self.num_queries if num_queries is None else num_queries
        if not 0 <= wanted <= self.num_queries:
            raise ValueError(
                f"GridQueries: num_queries must be from 0 to {self.num_queries}, got {wanted}"
            )
        chosen = self._choose(len(features), wanted, generator)
        pooled = F.adaptive_avg_pool2d(features, self.cells).flatten(2).transpose(1, 2)
        taken = pooled.gather(1, chosen[..., None].expand(-1, -1, pooled.shape[-1]))
        return self.feed_forward(taken), chosen

    def centres(self, cells: Tensor) -> Tensor:
        """Centres (..., 2) as (x, y) in [0, 1] of the frame, of cells (...)."""
        x = (cells % self.cells + 0.5) / self.cells
        y = (cells // self.cells + 0.5) / self.cells
        return torch.stack((x, y), dim=-1)

    def _choose(self, batch: int, wanted: int, generator: torch.Generator | None) -> Tensor:
        if not self.training:
            return self.order[:wanted].expand(batch, -1)
        orders = [torch.randperm(len(self.order), generator=generator) for _ in range(batch)]
        return torch.stack(orders)[:, :wanted].to(self.order.device)
