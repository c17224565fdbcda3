from __future__ import annotations

import pytest
import torch

from segblocks.losses import Appearances, pair_contrast, temporal_pairs


def seen(*rows: tuple[int, int, float]) -> Appearances:
    """Object, frame and size of its descriptor, which has two bins."""
    ids, frames, sizes = zip(*rows, strict=True)
    shapes = torch.tensor(sizes)[:, None, None] * torch.tensor([[3.0, 4.0]])
    return Appearances(torch.tensor(ids), torch.tensor(frames), shapes)


ANCHOR = seen((5, 10, 1.0))
KEYS = seen(
    (5, 90, 1.19),  # alike, far away in time
    (5, 90, 1.21),  # changed
    (5, 11, 2.0),  # changed, the next frame
    (5, 90, 0.0),  # no mask to describe
    (5, 10, 1.0),  # itself
    (6, 10, 1.0),  # another object
    (-1, 90, 1.0),  # no object
)


def test_pairs_follow_the_change() -> None:
    positives, negatives = temporal_pairs(ANCHOR, KEYS)
    assert positives[0].tolist() == [True, False, True, False, False, False, False]
    assert negatives[0].tolist() == [False, False, False, False, False, True, True]


def test_the_literal_reading_pushes_the_changed_object_away() -> None:
    positives, negatives = temporal_pairs(ANCHOR, KEYS, far_same_id="negative", reach=0)
    assert positives[0].tolist() == [True, False, False, False, False, False, False]
    assert negatives[0].tolist() == [False, True, True, False, False, True, True]


def test_the_threshold_is_strict_and_the_ratio_has_a_direction() -> None:
    a, b = seen((5, 0, 1.0)), seen((5, 9, 1.25))
    assert not temporal_pairs(a, b, max_change=0.25).positives.any()
    assert temporal_pairs(a, b, max_change=0.26).positives.all()
    assert temporal_pairs(b, a, max_change=0.21).positives.all()
    forth, back = (
        temporal_pairs(x, y, max_change=0.23, symmetric=True).positives for x, y in ((a, b), (b, a))
    )
    assert forth.all()
    assert back.all()


def test_anchors_without_an_object_are_not_compared() -> None:
    positives, negatives = temporal_pairs(seen((-1, 0, 1.0)), seen((-1, 5, 1.0), (3, 5, 1.0)))
    assert not positives.any()
    assert not negatives.any()


def test_a_frame_can_be_compared_with_itself() -> None:
    frame = seen((1, 0, 1.0), (2, 0, 1.0), (1, 1, 1.1))
    positives, negatives = temporal_pairs(frame, frame)
    assert positives.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    assert negatives.tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_one_positive_and_one_negative_are_a_softplus() -> None:
    positives, negatives = temporal_pairs(seen((1, 0, 1.0)), seen((1, 8, 1.0), (2, 8, 1.0)))
    similarity = torch.tensor([[0.7, 1.9]], dtype=torch.float64)
    loss = pair_contrast(similarity, positives, negatives=negatives)
    assert float(loss) == pytest.approx(float(torch.nn.functional.softplus(torch.tensor(1.2))))


def test_wrong_rules_are_named() -> None:
    with pytest.raises(ValueError, match="far_same_id must be one of"):
        temporal_pairs(ANCHOR, KEYS, far_same_id="soft")  # type: ignore[arg-type]
