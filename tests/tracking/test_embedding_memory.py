"""Consistency of embeddings against the formula, written out."""

from __future__ import annotations

import math

import pytest
import torch

from segblocks.tracking.embedding_memory import EmbeddingMemory


def test_consistency_is_the_weighted_cosine_over_remembered_frames() -> None:
    torch.manual_seed(0)
    memory = EmbeddingMemory(4)
    clips = torch.randn(2, 1, 3, 8)
    memory.update([7], clips[0], 0)
    memory.update([7], clips[1], 2)  # frame 2 is in both; frames 1 to 4 are remembered
    remembered = [clips[0, 0, 1], (clips[0, 0, 2] + clips[1, 0, 0]) / 2, *clips[1, 0, 1:]]
    now = torch.randn(1, 2, 8)
    total, want = 0.0, 0.0
    for v, old in enumerate(remembered, 1):
        weight = math.exp(5 * v / 4)
        cosine = sum(torch.cosine_similarity(old, new, dim=0) for new in now[0]) / 2
        total, want = total + weight, want + weight * cosine
    torch.testing.assert_close(memory.consistency([7], now)[0], want / total)


def test_blank_frames_do_not_count() -> None:
    memory = EmbeddingMemory(4)
    old = torch.randn(1, 1, 8)
    memory.update([7], old, 0)
    memory.update([8], torch.randn(1, 1, 8), 2)
    assert memory.consistency([7], old).item() == pytest.approx(1)
    assert memory.consistency([7], -old).item() == pytest.approx(-1)
    assert memory.consistency([9], old).item() == 1


def test_old_frames_are_forgotten() -> None:
    memory = EmbeddingMemory(2)
    memory.update([7], torch.ones(1, 5, 8), 0)
    assert memory.last([7], 2, torch.zeros(8)).shape == (1, 2, 8)
    memory.update([8], torch.ones(1, 1, 8), 20)
    assert (memory.last([7], 2, torch.zeros(8)) == 0).all()
    memory.remove([7, 9])
    assert memory.last([], 2, torch.zeros(8)).shape == (0, 2, 8)
