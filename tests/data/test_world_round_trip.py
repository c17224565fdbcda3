"""A video of the synthetic world is the same after each layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segblocks.data.burst import BURSTDataset, write_burst
from segblocks.data.davis import DAVISDataset, write_davis
from segblocks.data.mose import MOSEDataset, write_mose
from segblocks.data.referring import ReferringDataset, write_referring
from segblocks.data.sample import VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.data.youtube_vis import YouTubeVISDataset, write_youtube_vis
from segblocks.data.youtube_vos import YouTubeVOSDataset, write_youtube_vos
from tests.data.made import assert_same_truth

WORLD = SyntheticWorld(world_config("tiny"), seed=3, length=2)
LAYOUTS: dict[str, tuple[Any, Any]] = {
    "burst": (write_burst, BURSTDataset),
    "davis": (write_davis, DAVISDataset),
    "mose": (write_mose, MOSEDataset),
    "referring": (write_referring, ReferringDataset),
    "youtube_vis": (write_youtube_vis, YouTubeVISDataset),
    "youtube_vos": (write_youtube_vos, YouTubeVOSDataset),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip(layout: str, tmp_path: Path) -> None:
    write, reader = LAYOUTS[layout]
    write(WORLD, tmp_path, suffix=".png")
    dataset = reader(tmp_path)
    assert len(dataset) == len(WORLD)
    by_name = {sample.name.removeprefix("made/"): sample for sample in dataset}
    for made in WORLD:
        _compare(by_name[made.name], made, layout)


def _compare(read: VideoSample, made: VideoSample, layout: str) -> None:
    assert (read.num_frames, read.size, read.annotated) == (
        made.num_frames,
        made.size,
        made.annotated,
    )
    for t in range(made.num_frames):
        np.testing.assert_array_equal(read.read_frame(t), made.read_frame(t))
        truth = made.read_truth(t)
        assert_same_truth(read.read_truth(t), truth)
    assert [info.id for info in read.objects] == [info.id for info in made.objects]
    if layout in ("youtube_vis", "burst"):
        assert read.vocabulary is not None
        assert made.vocabulary is not None
        for mine, theirs in zip(read.objects, made.objects, strict=True):
            assert mine.label is not None
            assert theirs.label is not None
            assert read.vocabulary.classes[mine.label] == made.vocabulary.classes[theirs.label]
    if layout in ("burst", "davis", "mose", "youtube_vos"):
        assert read.hint_frames == made.hint_frames
    if layout == "burst":
        assert read.points == made.points
    if layout == "referring":
        assert read.expressions == made.expressions
