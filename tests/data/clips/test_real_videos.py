"""Clips of real videos, and of real stills."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform, CompositeVideos
from segblocks.data.davis import DAVISDataset
from segblocks.data.sampler import Draw
from segblocks.data.stills import PanopticStills
from segblocks.tasks import HintTask

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("SEGBLOCKS_DATA" not in os.environ, reason="needs SEGBLOCKS_DATA"),
]


def test_clips_of_davis():
    videos = DAVISDataset(Path(os.environ["SEGBLOCKS_DATA"]) / "clips")
    transform = ClipTransform(short_sides=(240, 256), crop=(0.75, 0.75))
    dataset = ClipDataset([ClipSource(videos, ClipRule(), transform, tasks={"vos": 1.0})])
    for video in range(len(videos)):
        clip = dataset[Draw(0, video, "vos", 0)]
        assert clip.frame_indices[-1] - clip.frame_indices[0] <= 22
        assert min(clip.frames.shape[-2:]) in (180, 192, 240, 256)
        assert clip.masks[:, 0].any(dim=(1, 2)).all()
        for task in clip.tasks:
            assert isinstance(task, HintTask)
            task.validate(*clip.frames.shape[-2:])


def test_composites_of_coco():
    root = Path(os.environ["SEGBLOCKS_DATA"]) / "stills" / "val"
    stills = PanopticStills(
        "stills", root / "panoptic.json", root / "images", root / "panoptic",
        official="coco_panoptic",
    )  # fmt: skip
    for keep in (False, True):
        videos = CompositeVideos(stills, size=(96, 160), keep_background=keep)
        for index in range(10):
            truths = [videos[index].read_truth(t) for t in range(3)]
            assert all(truth.masks.sum(axis=0).max() <= 1 for truth in truths)
            labels = {info.id: info.label for info in videos[index].objects}
            for truth in truths if keep else ():
                assert truth.semantic is not None
                for identity, mask in zip(truth.ids, truth.masks, strict=True):
                    assert np.unique(truth.semantic[mask]).tolist() == [labels[identity]]
