"""A bounded memory of prompts against one that keeps everything."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.tracking import PromptMemory

R, C = 2, 3


class FullHistory:
    """All slots of all objects since the first frame, (n, 2, R, C) each."""

    def __init__(self, num_frames: int, official_compat: bool) -> None:
        self.num_frames, self.official_compat = num_frames, official_compat
        self.slots: dict[int, Tensor] = {}
        self.first: dict[int, int] = {}
        self.written: set[int] = set()
        self.end = 0

    def advance(self, end: int) -> None:
        for i, slots in self.slots.items():
            self.slots[i] = torch.cat((slots, torch.zeros(end - self.end, 2, R, C)))
        self.end = end

    def add(self, i: int, first: int) -> None:
        self.slots[i], self.first[i] = torch.zeros(self.end, 2, R, C), first

    def write(self, i: int, frame: int, features: Tensor, positions: Tensor) -> None:
        if i not in self.written and not self.official_compat:
            frame = 0
        self.written.add(i)
        self.slots[i][frame:] = torch.stack((features, positions))

    def tokens(self) -> Tensor:
        rows = []
        for i, slots in self.slots.items():
            first = self.first[i] if self.first[i] < self.end - 1 else self.end - 1
            rows.append(torch.cat((slots[first][None], slots[-self.num_frames :])))
        return torch.stack(rows).permute(2, 0, 1, 3, 4).flatten(2, 3)


def follow(length: int, clip: int, stride: int, first: list[int], compat: bool, seed: int) -> None:
    """Go through a video with both memories; they say the same after every clip."""
    generator = torch.Generator().manual_seed(seed)
    memory = PromptMemory(num_tokens=R, num_frames=max(clip, 4), official_compat=compat)
    full = FullHistory(max(clip, 4), compat)
    for start in range(0, max(1, length - clip + stride), stride):
        end = min(start + clip, length)
        for either in (memory, full):
            either.advance(end)
            for i, frame in enumerate(first):
                known = either.ids if isinstance(either, PromptMemory) else either.slots
                if i not in known and frame < end:
                    either.add(i, frame)
        for frame in range(start, end):
            for i in memory.ids:
                if first[i] <= frame and torch.rand((), generator=generator) < 0.5:
                    tokens = torch.randn(2, R, C, generator=generator)
                    memory.write(i, frame, *tokens)
                    full.write(i, frame, *tokens)
        if full.written:
            assert torch.equal(torch.stack(memory.tokens()), full.tokens())
            here = torch.stack(memory.clip(start, end - start))
            want = torch.stack([s[start:end] for s in full.slots.values()])
            assert torch.equal(here, want.permute(2, 0, 1, 3, 4))


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("length", [1, 5, 6, 37])
def test_it_says_what_the_full_history_says(length: int, compat: bool) -> None:
    for stride in (1, 4):
        follow(length, 5, stride, [0, 3, 17], compat, seed=length + stride)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.integers(0, 30), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 99),
)
def test_for_any_clips_and_objects(
    length: int, clip: int, stride: int, first: list[int], compat: bool, seed: int
) -> None:
    follow(length, clip, min(stride, clip), first, compat, seed)


def test_memory_does_not_grow_with_the_video() -> None:
    memory = PromptMemory(num_tokens=R, num_frames=5)
    memory.advance(5)
    memory.add(1, 0)
    memory.write(1, 0, torch.ones(R, C), torch.ones(R, C))
    for end in range(6, 60):
        memory.advance(end)
        assert memory.tokens().features.shape == (1, 6 * R, C)
        row = memory._rows[1]
        assert row.slots is not None
        assert row.slots.untyped_storage().nbytes() == 2 * 5 * R * C * 4


def test_a_lost_object_keeps_its_first_frame() -> None:
    memory = PromptMemory(num_tokens=R, num_frames=2)
    memory.advance(2)
    memory.add(1, 0)
    memory.write(1, 0, torch.ones(R, C), torch.ones(R, C))
    memory.advance(30)
    tokens = memory.tokens().features[0]
    assert (tokens[:R] == 1).all()
    assert (tokens[R:] == 0).all()


def test_a_video_may_begin_late() -> None:
    memory = PromptMemory(num_tokens=R, num_frames=5)
    memory.advance(102, start=100)
    memory.add(1, 101)
    memory.write(1, 101, torch.ones(R, C), torch.ones(R, C))
    assert memory.tokens().features.shape == (1, 3 * R, C)
    assert (memory.clip(100, 2).features == 1).all()


def test_objects_can_be_forgotten() -> None:
    memory = PromptMemory(num_tokens=R, num_frames=5)
    memory.advance(2)
    for i in (3, 1, 2):
        memory.add(i, 0)
        memory.write(i, 0, torch.full((R, C), float(i)), torch.zeros(R, C))
    memory.remove([1])
    assert memory.ids == (3, 2)
    assert memory.clip(0, 2).features[:, 0, 0, 0].tolist() == [3, 2]


def test_misuse_is_refused() -> None:
    memory = PromptMemory(num_tokens=R, num_frames=2)
    with pytest.raises(ValueError, match="advance to a frame before adding"):
        memory.add(1, 0)
    memory.advance(4)
    memory.add(1, 0)
    with pytest.raises(ValueError, match="object 1 is there already"):
        memory.add(1, 0)
    with pytest.raises(ValueError, match="no object has been written yet"):
        memory.tokens()
    with pytest.raises(ValueError, match="frame must be from 2 to 3, got 1"):
        memory.write(1, 1, torch.ones(R, C), torch.ones(R, C))
    with pytest.raises(ValueError, match=r"must be \(2, C\), got \(3, 3\)"):
        memory.write(1, 2, torch.ones(3, C), torch.ones(3, C))
    with pytest.raises(ValueError, match="end must be at least 4, got 3"):
        memory.advance(3)
    memory.write(1, 2, torch.ones(R, C), torch.ones(R, C))
    with pytest.raises(ValueError, match="must be among those that are kept, 2 to 3"):
        memory.clip(1, 2)
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 5"):
        PromptMemory(num_tokens=0)
