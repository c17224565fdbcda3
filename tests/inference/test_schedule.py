from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.inference.schedule import schedule_clips


@given(
    num_frames=st.integers(0, 40),
    clips=st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
    start=st.integers(0, 5),
)
@settings(deadline=None)
def test_clips_cover_the_video_as_a_known_length_would_cut_it(
    num_frames: int, clips: tuple[int, int], start: int
) -> None:
    clip_length, overlap = clips
    found = list(
        schedule_clips(range(start, start + num_frames), clip_length, overlap, start=start)
    )
    starts, stop = [], start + num_frames
    at = start
    while num_frames and (not starts or at + overlap < stop):
        starts.append(at)
        at += clip_length - overlap
    assert [clip.start for clip in found] == starts
    for clip in found:
        assert clip.start + clip.num_frames == min(clip.start + clip_length, stop)
        assert clip.new == tuple(range(clip.start + clip.num_shared, clip.start + clip.num_frames))
        assert clip.num_shared == (overlap if clip.start > start else 0)
    assert [clip.last for clip in found] == [False] * (len(found) - 1) + [True] * bool(found)


def test_reads_one_frame_beyond_a_clip_and_no_further() -> None:
    frames = iter(range(100))
    clips = schedule_clips(frames, 4, 2)
    next(clips)
    assert next(frames) == 5


@pytest.mark.parametrize("overlap", [-1, 4, 5])
def test_overlap_that_leaves_no_new_frame_is_refused_at_once(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap must be from 0"):
        schedule_clips([], 4, overlap)
