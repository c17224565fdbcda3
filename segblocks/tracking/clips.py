"""Checks that policies share: clips that go forward, and outputs that belong to them."""

from __future__ import annotations

from torch import Tensor

from segblocks.nn.clip_output import ClipOutput
from segblocks.text.vocabulary import Vocabulary
from segblocks.tracking.policy import VideoState


def check_clips(name: str, clip_length: int, overlap: int, short_side: int | None) -> None:
    """Refuse clips that do not go forward, and frames without a size.

    Args:
        name: of the policy, for the message.
        clip_length: frames of a clip.
        overlap: frames that successive clips share.
        short_side: of the frames as the model gets them, None to leave them.

    Raises:
        ValueError: names the setting.
    """
    if clip_length < 1 or not 0 <= overlap < clip_length:
        raise ValueError(
            f"{name}: overlap must be from 0 to clip_length - 1, "
            f"got {overlap} with clip_length {clip_length}"
        )
    if short_side is not None and short_side < 0:
        raise ValueError(
            f"{name}: short_side must be positive, or 0 to leave frames as they are, "
            f"got {short_side}"
        )


def check_next(
    name: str, output: ClipOutput, state: VideoState, overlap: int, *, last: bool
) -> None:
    """Refuse an output that is not of the clip that comes next.

    Args:
        name: of the policy, for the message.
        output: of the model.
        state: of the video.
        overlap: frames that successive clips share.
        last: whether no clip follows.

    Raises:
        ValueError: several clips, or other frames.
    """
    if output.mask_features.shape[0] != 1:
        raise ValueError(f"{name}: output must be of one clip, got {output.mask_features.shape[0]}")
    frames = output.frame_indices
    if frames[0] != state.next_start or (not last and len(frames) <= overlap):
        raise ValueError(
            f"{name}: the next clip begins at frame {state.next_start} and, unless it is "
            f"the last, has more than {overlap} frames; got frames {frames[0]} to {frames[-1]}"
        )


def class_logits_of(name: str, output: ClipOutput, vocabulary: Vocabulary) -> Tensor:
    """Return the class logits (Q, K + 1) of an output of one clip.

    Args:
        name: of the policy, for the message.
        output: of the model.
        vocabulary: with K classes.

    Raises:
        ValueError: the output has none, or another number of classes.
    """
    logits = output.class_logits
    if logits is None or logits.shape[-1] != len(vocabulary) + 1:
        got = None if logits is None else tuple(logits.shape)
        raise ValueError(
            f"{name}: class_logits must have {len(vocabulary)} classes of {vocabulary.name} and "
            f"no-object, got {got}"
        )
    return logits[0]


def selected_logits(output: ClipOutput, queries: slice | Tensor) -> Tensor:
    """Mask logits (q, T, h, w) of some queries, in float32 whatever the model computes in."""
    return output.select_mask_logits(queries)[0].float()
