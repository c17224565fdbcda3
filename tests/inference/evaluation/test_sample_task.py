"""From videos of datasets to tasks and readers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segblocks.inference.evaluation.sample_task import asks_nothing, open_sample, task_of
from tests.inference.evaluation.evaluated import squares_sample


def test_task_of_late_objects() -> None:
    sample = squares_sample(1)
    vos, pet = task_of(sample, "vos"), task_of(sample, "pet")
    for task in (vos, pet):
        assert {t: hints.ids for t, hints in task.hints.items()} == {0: (1, 4), 4: (3,)}  # type: ignore[union-attr]
    assert task_of(sample, "vps").resolve() is sample.vocabulary  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="gives no points"):
        task_of(replace(sample, points={}), "pet")
    with pytest.raises(ValueError, match="has no classes"):
        task_of(replace(sample, vocabulary=None), "vis")
    with pytest.raises(ValueError, match="no video is made for the task 'vsp'"):
        task_of(sample, "vsp")
    empty = replace(sample, hint_frames={}, points={})
    for kind in ("vos", "pet", "refvos"):
        assert asks_nothing(empty, kind)
        assert task_of(empty, kind) is None
    assert not asks_nothing(empty, "vis")
    reader = open_sample(sample)
    frames = list(reader)
    assert len(frames) == sample.num_frames
    np.testing.assert_array_equal(next(iter(reader.reopen())), frames[0])
