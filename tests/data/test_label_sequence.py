"""Label maps of a video keep every id, and say what is not judged."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segblocks.data.davis import write_davis
from segblocks.data.label_sequence import FirstFrames, LabelFiles, judged_frames, write_labels
from segblocks.data.registry import open_dataset
from segblocks.data.sample import ObjectInfo, Truth, VideoSample
from segblocks.ops.label_map import masks_from_label_map
from tests.data.made import assert_same_truth, made_video

FRAMES = tuple(Path("frames", f"{t:05d}.jpg") for t in range(3))
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
    write_labels(folder, sample, ("00000",), void=255)
    read = LabelFiles({0: folder / "00000.png"}, labels.shape, void=255)
    assert_same_truth(read(0), truth)
    assert read(0).ignore is None
    assert read.ids(0) == ids
    assert read.first_frames() == dict.fromkeys(ids, 0)
    assert not list(folder.glob(".*"))


def test_first_frames_are_looked_for_once(tmp_path: Path) -> None:
    sample = made_video("a", (1, 2), late={2: 1})
    write_labels(tmp_path, sample, sample.file_names, void=None)
    paths = {t: tmp_path / f"{name}.png" for t, name in enumerate(sample.file_names)}
    first = FirstFrames()
    found = first.find("a", LabelFiles(paths, sample.size))
    assert found == {1: 0, 2: 1}
    found.clear()
    shutil.rmtree(tmp_path)
    assert first.find("a", LabelFiles(paths, sample.size)) == {1: 0, 2: 1}


def test_names_of_frames() -> None:
    sample = made_video("a", (1,), num_frames=3)
    assert sample.file_names == ("00000", "00005", "00010")
    assert replace(sample, frame_names=()).file_names == ("00000", "00001", "00002")


def test_higher_ids_are_on_top(tmp_path: Path) -> None:
    masks = np.array([[[True, True]], [[False, True]]])
    sample = replace(
        made_video("a", (4, 9)), annotated=(0,), read_truth=lambda t: Truth((4, 9), masks)
    )
    write_labels(tmp_path, sample, ("0",), void=None)
    truth = LabelFiles({0: tmp_path / "0.png"}, (1, 2))(0)
    np.testing.assert_array_equal(truth.masks, [[[True, False]], [[False, True]]])


@pytest.mark.parametrize(
    ("labels", "hints", "judged"),
    [
        ((0, 1, 2), {1: 0}, (0, 1, 2)),
        ((0,), {1: 0}, ()),
        ((0, 2), {1: 0, 2: 0, 5: 2}, ()),
        ((), {}, ()),
        ((0, 1, 2), {1: 0, 2: 1, 3: 2}, (0, 1, 2)),
    ],
)
def test_frames_that_are_judged(
    labels: tuple[int, ...], hints: dict[int, int], judged: tuple[int, ...]
) -> None:
    assert judged_frames({t: Path(str(t)) for t in labels}, hints, FRAMES) == judged


@pytest.mark.parametrize(
    ("labels", "hints", "expected", "missing"),
    [
        ((0, 2), {1: 0}, None, "00001.png: .* first of 1 that are missing of 3"),
        ((2,), {}, None, "00000.png: .* first of 2 that are missing of 3"),
        ((0, 2), {1: 0}, (0, 1), "00001.png: .* first of 1 that are missing of 2"),
        ((0, 2), {1: 0}, (0, 2), None),
    ],
)
def test_missing_pngs(
    labels: tuple[int, ...],
    hints: dict[int, int],
    expected: tuple[int, ...] | None,
    missing: str | None,
) -> None:
    paths = {t: Path("masks", f"{t:05d}.png") for t in labels}
    if missing is not None:
        with pytest.raises(FileNotFoundError, match=f"masks/{missing}; allow_missing=True"):
            judged_frames(paths, hints, FRAMES, expected=expected)
    allow = missing is not None
    assert judged_frames(paths, hints, FRAMES, expected=expected, allow_missing=allow) == labels


@pytest.mark.parametrize(
    ("layout", "options", "reads"),
    [
        ("davis", {"year": 2017}, "davis2017"),
        ("davis", {"year": 2016}, None),
        ("mose", {}, None),
        ("youtube_vos", {}, None),
        ("viposeg", {}, None),
        ("referring", {}, None),
    ],
)
def test_ignored_pixels_are_kept_or_refused(
    layout: str, options: dict[str, int], reads: str | None, tmp_path: Path
) -> None:
    write = getattr(import_module(f"segblocks.data.{layout}"), f"write_{layout}")
    sample = made_video("walk", (1, 2), num_frames=2)
    ignoring = replace(sample, read_truth=partial(_with_ignored, sample))
    if reads is None:
        with pytest.raises(ValueError, match=r"00000\.png: 3 pixels of frame 0 of 'walk' are ign"):
            write([ignoring], tmp_path, **options)
        return
    write([ignoring], tmp_path, **options)
    read = open_dataset(reads, tmp_path)[0]
    for t in range(2):
        truth = ignoring.read_truth(t)
        assert truth.ignore is not None
        found = read.read_truth(t)
        np.testing.assert_array_equal(found.ignore, truth.ignore)
        assert found.ids == truth.ids
        np.testing.assert_array_equal(found.masks, truth.masks & ~truth.ignore)


def test_16_bits_have_no_ignored_pixels(tmp_path: Path) -> None:
    sample = made_video("walk", (1, 300))
    ignoring = replace(sample, read_truth=partial(_with_ignored, sample))
    with pytest.raises(ValueError, match="ignored, for which PNGs of 16 bits have none"):
        write_davis([ignoring], tmp_path)


def _with_ignored(sample: VideoSample, t: int) -> Truth:
    truth = sample.read_truth(t)
    ignore = np.zeros(sample.size, np.bool_)
    # Two pixels of no object, and one of the first.
    ignore[-1, -2:] = ignore[t, 0] = True
    return replace(truth, ignore=ignore)
