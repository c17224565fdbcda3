"""One segment for every pixel, by the rule of Mask2Former."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.ops.resize import resize_logits
from segblocks.tracking.semantic import VOID


class Candidates(NamedTuple):
    """Segments that a frame may show.

    Args:
        numbers: slots of things, then classes of stuff.
        num_things: how many are things.
        scores: of each.
    """

    numbers: tuple[int, ...]
    num_things: int
    scores: tuple[float, ...]


def merge_panoptic(
    candidates: Candidates,
    logits: Tensor,
    model_size: tuple[int, int],
    size: tuple[int, int],
    min_share: float,
) -> tuple[list[int], NDArray[np.bool_], NDArray[np.int32]]:
    """Divide a frame among segments.

    A pixel goes to the greatest score times mask probability; a segment of whose mask less than
    ``min_share`` remains is dropped, and its pixels stay void.

    Args:
        candidates: n of them, their scores high enough.
        logits: (n, h, w) at stride 4 of the padded clip.
        model_size: (height, width) of the clip's frames before padding.
        size: (H, W) of the video.
        min_share: of a mask.

    Returns:
        The slots of the things that are shown, their masks (O, H, W), and the map of stuff (H, W).
    """
    semantic = np.full(size, VOID, dtype=np.int32)
    shown: list[int] = []
    masks: list[NDArray[np.bool_]] = []
    if candidates.numbers:
        probabilities = resize_logits(logits, model_size, size).sigmoid()
        scores = torch.tensor(candidates.scores, device=logits.device)[:, None, None]
        winner = (scores * probabilities).argmax(0)
        for n, number in enumerate(candidates.numbers):
            whole = probabilities[n] >= 0.5
            left = whole & (winner == n)
            if not left.any() or int(left.sum()) < min_share * int(whole.sum()):
                continue
            mask = left.cpu().numpy()
            if n < candidates.num_things:
                shown.append(number)
                masks.append(mask)
            else:
                semantic[mask] = number
    stacked = np.stack(masks) if masks else np.zeros((0, *size), dtype=np.bool_)
    return shown, stacked, semantic
