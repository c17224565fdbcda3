from __future__ import annotations

import torch

from segblocks.tracking.overlap import LogitRows
from segblocks.tracking.semantic import VOID, SemanticJoiner, class_map


def test_shared_frames_are_averaged_and_only_the_given_classes_win() -> None:
    joiner = SemanticJoiner([2, 5])
    first, second = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    first[0] = 3.0
    second[1] = 4.0
    rows = joiner.update(first, 2)
    assert [class_map(rows, t, (16, 16), (16, 16))[0, 0] for t in range(2)] == [2, 2]
    rows = joiner.update(second, 3)
    torch.testing.assert_close(rows.logits[:, 0, 0, 0], torch.tensor([1.5, 2.0]))
    maps = [class_map(rows, t, (16, 16), (8, 12)) for t in range(3)]
    assert [set(m.ravel().tolist()) for m in maps] == [{5}, {5}, {5}]
    assert maps[0].shape == (8, 12)


def test_no_class_leaves_the_frame_void() -> None:
    assert (class_map(LogitRows.none(1), 0, (16, 16), (5, 6)) == VOID).all()
