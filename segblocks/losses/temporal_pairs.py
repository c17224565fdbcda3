"""Which appearances of an object in a video should look alike (GvSeg section 3.1)."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from segblocks.nn.shape_position import descriptor_change

FarSameId = Literal["ignore", "negative"]


class Appearances(NamedTuple):
    """Objects as some frames of a video show them; all n of them in one order.

    Args:
        ids: (n,) int64, the object; -1 for queries that no object was matched with.
        frames: (n,) int64, the frame in the video.
        shapes: (n, u, v), descriptors of their true masks, zero where there is none.
    """

    ids: Tensor
    frames: Tensor
    shapes: Tensor


class ContrastPairs(NamedTuple):
    """Which keys an anchor is to resemble, and which not; both (A, K) bool."""

    positives: Tensor
    negatives: Tensor


@torch.no_grad()
def temporal_pairs(
    anchors: Appearances,
    keys: Appearances,
    *,
    max_change: float = 0.2,
    far_same_id: FarSameId = "ignore",
    reach: int = 1,
    symmetric: bool = False,
) -> ContrastPairs:
    """Pair appearances over a whole video by how much shape and position have changed.

    The same object is a positive where its descriptor changes by less than ``max_change`` (eq. 10),
    or where the frames are at most ``reach`` apart. Other objects, and queries without one, are
    negatives. The paper makes a negative of the same object as well where it has changed more;
    by default that is passed over, as it would push apart what tracking has to join. An appearance
    is never paired with itself, nor with the same object in the same frame; where one of two has
    no descriptor, only ``reach`` makes them positives.

    Args:
        anchors: of the key frame.
        keys: of the reference frames, which may be the anchors as well.
        max_change: tau (paper: 0.2).
        far_same_id: what the same object is where it has changed: "ignore" or "negative" (paper).
        reach: frames; 0 leaves the decision to the descriptors (paper).
        symmetric: divide the change by the mean of both norms, not by the anchor's.

    Returns:
        The pairs, for :func:`~segblocks.losses.pair_contrast` and ``cosine_auxiliary``.

    Raises:
        ValueError: another rule for ``far_same_id``.

    Example:
        >>> shapes = torch.ones(2, 1, 1) * torch.tensor([1.0, 1.1])[:, None, None]
        >>> anchors = Appearances(torch.tensor([7]), torch.tensor([0]), shapes[:1])
        >>> keys = Appearances(torch.tensor([7, 7, 3]), torch.tensor([9, 9, 9]), shapes[[0, 1, 1]])
        >>> positives, negatives = temporal_pairs(anchors, keys)
        >>> positives.tolist(), negatives.tolist()
        ([[True, True, False]], [[False, False, True]])
    """
    if far_same_id not in get_args(FarSameId):
        raise ValueError(
            f"temporal_pairs: far_same_id must be one of {get_args(FarSameId)}, got {far_same_id!r}"
        )
    same = (anchors.ids[:, None] == keys.ids) & (anchors.ids[:, None] >= 0)
    change = descriptor_change(anchors.shapes[:, None], keys.shapes[None], symmetric=symmetric)
    apart = (anchors.frames[:, None] - keys.frames).abs()
    alike = (change < max_change) | (apart <= reach)
    known = change.isfinite()
    other = same & (apart > 0)
    negatives = ~same
    if far_same_id == "negative":
        negatives = negatives | (other & ~alike & known)
    real = (anchors.ids >= 0)[:, None]
    return ContrastPairs(other & alike, negatives & real)
