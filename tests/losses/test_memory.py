"""No tensor of all queries, frames and pixels is made in matching and losses."""

from __future__ import annotations

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.losses.contenders import Clip, dense, make_clip, sampled


class LargestStorage(TorchDispatchMode):
    """Remember the largest storage that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


def largest(contender, clip: Clip) -> int:
    with LargestStorage() as mode:
        contender(clip).backward()
    return mode.bytes


def test_no_tensor_holds_the_masks_of_all_queries() -> None:
    clip = make_clip(layers=2, queries=300, objects=2, frames=2, size=(256, 512), channels=8)
    masks = 300 * 2 * 64 * 128 * 4
    assert largest(dense, clip) >= masks
    # The largest are the targets' points and the samples of a tile, whatever the queries.
    assert largest(sampled, clip) < masks / 4
