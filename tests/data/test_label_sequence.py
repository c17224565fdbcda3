"""Label maps of a video keep every id, and say what is not judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segblocks.data.label_sequence import LabelFiles, judged_frames, write_labels
from segblocks.data.sample import ObjectInfo, Truth
from segblocks.ops.label_map import masks_from_label_map
from tests.data.made import assert_same_truth, made_video

IDS = st.sampled_from((0, 1, 2, 128, 254, 255, 256, 65535))


@given(labels=arrays.arrays(np.int64, arrays.array_shapes(min_dims=2, max_dims=2), elements=IDS))
def test_any_label_map(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    masks, ids = masks_from_label_map(labels)
    truth = Truth(ids, masks)
    sample = replace(
        made_video("a", (1,)),
        num_frames=1,
        size=labels.shape,
        annotated=(0,),
        hint_frames={},
        objects=tuple(ObjectInfo(number) for number in ids),
        read_truth=lambda t: truth,
    )
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, sample, ("00000",))
    read = LabelFiles({0: folder / "00000.png"}, labels.shape, void=255)
    assert_same_truth(read(0), truth)
    assert read(0).ignore is None
    assert read.ids(0) == ids
    assert read.first_frames() == dict.fromkeys(ids, 0)
    assert not list(folder.glob(".*"))


def test_higher_ids_are_on_top(tmp_path: Path) -> None:
    masks = np.array([[[True, True]], [[False, True]]])
    sample = replace(
        made_video("a", (4, 9)), annotated=(0,), read_truth=lambda t: Truth((4, 9), masks)
    )
    write_labels(tmp_path, sample, ("0",))
    truth = LabelFiles({0: tmp_path / "0.png"}, (1, 2))(0)
    np.testing.assert_array_equal(truth.masks, [[[True, False]], [[False, True]]])


@pytest.mark.parametrize(
    ("labels", "hints", "judged"),
    [
        ((0, 1, 2), {1: 0}, (0, 1, 2)),
        ((0, 2), {1: 0}, (0, 2)),
        ((0,), {1: 0}, ()),
        ((0, 2), {1: 0, 2: 0, 5: 2}, ()),
        ((), {}, ()),
        ((2,), {}, (2,)),
        ((0, 1, 2), {1: 0, 2: 1, 3: 2}, (0, 1, 2)),
    ],
)
def test_frames_that_are_judged(
    labels: tuple[int, ...], hints: dict[int, int], judged: tuple[int, ...]
) -> None:
    assert judged_frames({t: Path(str(t)) for t in labels}, hints, 3) == judged
