from __future__ import annotations

import torch
from torch import Tensor

from segblocks.inference.window import FrameWindow


def frame(value: float) -> Tensor:
    return torch.full((3, 8, 8), value)


def test_only_new_frames_are_extracted_and_all_come_back_in_order() -> None:
    extracted: list[list[float]] = []

    def extract(frames: Tensor) -> dict[int, Tensor]:
        extracted.append(frames[0, :, 0, 0, 0].tolist())
        return {4: frames[..., ::4, ::4], 8: 10 * frames[..., ::8, ::8]}

    window = FrameWindow(extract)
    window.extend([frame(0), frame(1), frame(2)])
    window.features()
    window.keep_last(2)
    window.extend([frame(3)])
    features = window.features()
    assert extracted == [[0, 1, 2], [3]]
    assert features[4][0, :, 0, 0, 0].tolist() == [1, 2, 3]
    assert features[8][0, :, 0, 0, 0].tolist() == [10, 20, 30]
    assert window.frames[0, :, 0, 0, 0].tolist() == [1, 2, 3]
    # A clip that nobody asks about, and one that shares frames with it.
    window.keep_last(2)
    window.extend([frame(4)])
    window.keep_last(2)
    window.extend([frame(5)])
    assert window.features()[4][0, :, 0, 0, 0].tolist() == [3, 4, 5]
    assert extracted[2:] == [[4, 5]]


def test_nothing_of_a_clip_is_kept_beyond_the_shared_frames() -> None:
    window = FrameWindow(lambda frames: {4: frames.clone()})
    window.extend([frame(float(t)) for t in range(4)])
    features = window.features()
    window.keep_last(1)
    kept = window.features()[4]
    assert kept.untyped_storage().nbytes() == kept.nbytes == features[4].nbytes // 4
    window.keep_last(0)
    window.extend([frame(9)])
    assert window.features()[4].shape[1] == 1
