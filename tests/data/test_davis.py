"""DAVIS is read as it is written, by objects and merged; errors name the file."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segblocks.data.davis import DAVISDataset, write_davis
from segblocks.data.sample import Truth
from tests.data.made import assert_same_truth, assert_same_video, made_video

VIDEOS = (
    made_video("cows", (1, 2, 5), late={5: 2}, empty=(1,), vocabulary=None),
    made_video("bus", (1,), vocabulary=None),
)
MASK = "Annotations/480p/cows/00005.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_davis(VIDEOS, tmp_path, suffix=".png")
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = DAVISDataset(root)
    assert (dataset.name, dataset.task, dataset.vocabulary) == ("davis2017", "vos", None)
    assert dataset.names == ("cows", "bus")
    for read, made in zip(dataset, VIDEOS, strict=True):
        assert_same_video(read, made)
        assert read.fps == 24
    assert dataset[0].hint_frames == {1: 0, 2: 0, 5: 2}
    assert dataset[0].read_truth(1).masks.shape == (0, *VIDEOS[0].size)
    assert dataset[-1].name == "bus"
    with pytest.raises(IndexError, match="has 2 videos, got index 2"):
        dataset[2]


def test_masks_are_palette_pictures(root: Path) -> None:
    with Image.open(root / MASK) as image:
        assert image.mode == "P"
        assert image.getpalette()[3:6] == [128, 0, 0]


def test_2016_merges_the_objects(tmp_path: Path) -> None:
    write_davis(VIDEOS, tmp_path, year=2016, suffix=".png")
    sample = DAVISDataset(tmp_path, year=2016)[0]
    assert [info.id for info in sample.objects] == [1]
    union = VIDEOS[0].read_truth(3).masks.any(axis=0)
    assert_same_truth(sample.read_truth(3), Truth((1,), union[None]))
    assert sample.read_truth(1).ids == ()


def test_2016_takes_255_for_the_object(tmp_path: Path) -> None:
    write_davis(VIDEOS, tmp_path, year=2016, suffix=".png")
    masks = tmp_path / "Annotations/480p/bus"
    for path in masks.iterdir():
        Image.fromarray(np.where(np.array(Image.open(path)) > 0, 255, 0).astype(np.uint8)).save(
            path
        )
    assert_same_video(DAVISDataset(tmp_path, year=2016)[1], VIDEOS[1])


def test_2016_lists_of_the_first_release(root: Path) -> None:
    folder = root / "ImageSets/480p"
    folder.mkdir()
    lines = [f"/JPEGImages/480p/bus/{t}.jpg /Annotations/480p/bus/{t}.png\n" for t in "01"]
    (folder / "test.txt").write_text("".join(lines))
    assert DAVISDataset(root, year=2016, split="test").names == ("bus",)


@pytest.mark.parametrize("ids", [(254,), (255,), (7, 255, 256), (300, 65535)])
def test_high_ids(tmp_path: Path, ids: tuple[int, ...]) -> None:
    made = made_video("high", ids, vocabulary=None)
    write_davis([made], tmp_path, suffix=".png")
    assert_same_video(DAVISDataset(tmp_path)[0], made)


def test_an_id_that_no_png_of_the_layout_holds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="object ids must be at most 65535, got 65536"):
        write_davis([made_video("high", (65536,))], tmp_path)


def test_many_objects(tmp_path: Path) -> None:
    made = made_video("crowd", range(1, 301), vocabulary=None)
    write_davis([made], tmp_path, suffix=".png")
    assert_same_video(DAVISDataset(tmp_path)[0], made)


def test_255_is_not_judged(root: Path) -> None:
    with Image.open(root / MASK.replace("05", "10")) as image:
        labels = np.array(image)
    labels[0] = 255
    Image.fromarray(labels).save(root / MASK.replace("05", "10"))
    truth = DAVISDataset(root)[0].read_truth(2)
    assert truth.ids == (1, 2, 5)
    assert truth.ignore is not None
    np.testing.assert_array_equal(truth.ignore, labels == 255)


def test_what_is_not_judged_survives(tmp_path: Path) -> None:
    made = made_video("bus", (1,), vocabulary=None)
    truth = made.read_truth(0)
    ignore = np.zeros(made.size, np.bool_)
    ignore[3:] = True
    marked = replace(
        made, num_frames=1, annotated=(0,), read_truth=lambda t: replace(truth, ignore=ignore)
    )
    write_davis([marked], tmp_path, suffix=".png")
    read = DAVISDataset(tmp_path)[0].read_truth(0)
    assert_same_truth(read, truth)
    np.testing.assert_array_equal(read.ignore, ignore)


def test_hints_alone_are_no_truth(tmp_path: Path) -> None:
    made = made_video("cows", (1, 2), late={2: 2}, annotated=(0, 2), vocabulary=None)
    write_davis([made], tmp_path, suffix=".png")
    sample = DAVISDataset(tmp_path)[0]
    assert sample.annotated == ()
    assert sample.hint_frames == {1: 0, 2: 2}
    assert_same_truth(sample.read_truth(2), made.read_truth(2))


def test_no_annotations_at_all(root: Path) -> None:
    for path in (root / "Annotations/480p/cows").iterdir():
        path.unlink()
    sample = DAVISDataset(root)[0]
    assert (sample.annotated, sample.objects, sample.hint_frames) == ((), (), {})


def test_jpeg_is_the_default(tmp_path: Path) -> None:
    write_davis(VIDEOS, tmp_path)
    assert (tmp_path / "JPEGImages/480p/cows/00015.jpg").is_file()
    assert DAVISDataset(tmp_path)[0].read_frame(3).shape == (*VIDEOS[0].size, 3)


def test_workers_can_have_it(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(DAVISDataset(root)))
    assert_same_video(pickle.loads(pickle.dumps(dataset[0])), VIDEOS[0])


def test_errors(root: Path) -> None:
    with pytest.raises(ValueError, match="year must be 2016 or 2017, got 2018"):
        DAVISDataset(root, year=2018)
    with pytest.raises(FileNotFoundError, match=r"found none of ImageSets/2017/train\.txt"):
        DAVISDataset(root, split="train")
    with pytest.raises(ValueError, match=r"frame 9 has no annotation; .* \[0, 1, 2, 3\]"):
        DAVISDataset(root)[0].read_truth(9)
    (root / "ImageSets/2017/val.txt").write_text("cows\nghost\n")
    with pytest.raises(FileNotFoundError, match=r"480p/ghost: no frames of the video 'ghost'"):
        DAVISDataset(root)


def test_a_frame_is_missing(root: Path) -> None:
    (root / "JPEGImages/480p/cows/00005.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"00005\.png: the frame 00005 .* is missing in"):
        DAVISDataset(root)[0]


def test_a_mask_of_another_size(root: Path) -> None:
    sample = DAVISDataset(root)[0]
    Image.new("P", (4, 3)).save(root / MASK)
    with pytest.raises(ValueError, match=r"cows/00005\.png: expected 6x6 pixels .* got 3x4"):
        sample.read_truth(1)


def test_a_broken_mask_and_one_in_colours(root: Path) -> None:
    sample = DAVISDataset(root)[0]
    (root / MASK).write_bytes((root / MASK).read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cows/00005\.png: not a readable image"):
        sample.read_truth(1)
    Image.new("RGB", (6, 6)).save(root / MASK)
    with pytest.raises(ValueError, match=r"cows/00005\.png: expected 1 channel"):
        sample.read_truth(1)
    (root / MASK).unlink()
    with pytest.raises(FileNotFoundError, match=r"cows/00005\.png"):
        sample.read_truth(1)


@given(ids=st.sets(st.integers(1, 65535), min_size=1, max_size=4), late=st.integers(0, 3))
def test_any_ids(tmp_path_factory: pytest.TempPathFactory, ids: set[int], late: int) -> None:
    ordered = tuple(sorted(ids))
    made = made_video("any", ordered, late={ordered[-1]: late}, vocabulary=None)
    root = tmp_path_factory.mktemp("davis")
    write_davis([made], root, suffix=".png")
    assert_same_video(DAVISDataset(root)[0], made)


@pytest.mark.data
@pytest.mark.skipif("SEGBLOCKS_DATA" not in os.environ, reason="needs SEGBLOCKS_DATA")
def test_real_clips() -> None:
    dataset = DAVISDataset(Path(os.environ["SEGBLOCKS_DATA"]) / "clips")
    found = {s.name: (s.num_frames, s.size, s.hint_frames, len(s.annotated)) for s in dataset}
    assert found == {
        "car-shadow": (40, (480, 854), {1: 0}, 40),
        "tennis": (70, (256, 448), {1: 0}, 70),
        "bmx-trees": (80, (240, 432), {1: 0}, 80),
    }
    sample = dataset[dataset.names.index("car-shadow")]
    assert sample.read_frame(39).shape == (480, 854, 3)
    assert 0.03 < sample.read_truth(0).masks.mean() < 0.12
    merged = DAVISDataset(Path(os.environ["SEGBLOCKS_DATA"]) / "clips", year=2016)[0]
    assert_same_truth(merged.read_truth(5), dataset[0].read_truth(5))


@pytest.mark.data
@pytest.mark.skipif("SEGBLOCKS_DATA" not in os.environ, reason="needs SEGBLOCKS_DATA")
def test_real_clips_with_a_first_frame_only() -> None:
    dataset = DAVISDataset(Path(os.environ["SEGBLOCKS_DATA"]) / "clips_first_frame")
    assert [len(s.objects) for s in dataset] == [44, 43]
    for sample in dataset:
        assert sample.annotated == ()
        truth = sample.read_truth(0)
        assert truth.ids == tuple(sample.hint_frames) == tuple(info.id for info in sample.objects)
        assert truth.masks.any(axis=(1, 2)).all()
        assert truth.masks.sum(axis=0).max() == 1
