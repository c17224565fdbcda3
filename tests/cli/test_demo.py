"""The demo, shortened: all four tasks, all files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.cli import main
from segblocks.cli.demo_video import make_demo_video
from segblocks.inference.mask_files import read_masks
from segblocks.inference.video import open_video
from segblocks.inference.writers import read_result
from segblocks.metrics import JAndF

pytest.importorskip("av")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos that take less time."""
    monkeypatch.setattr(
        "segblocks.cli.demo_video.make_demo_video", lambda frames: make_demo_video(frames, 96, 160)
    )


def test_demo_writes_everything(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--frames", "2", "--out", str(out), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert told.count("frames/s") == 4
    assert str(out / "contact_sheet.png") in told
    video = list(open_video(out / "video.mp4"))
    assert len(video) == 2
    for task in ("vis", "vps", "vos", "pet"):
        assert str(out / task / "overlay.mp4") in told
        frames = list(open_video(out / task / "overlay.mp4"))
        assert np.shape(frames) == np.shape(video)
        result = read_result(out / task)
        assert result.task_name == task
        assert len(list(result.source.reopen())) == 2
    sample = make_demo_video(2, 96, 160)
    scores = re.findall(r"(\w+): \d+ tracks, J&F ([\d.]+),", told)
    assert [task for task, _ in scores] == ["vos", "pet"]
    for task, score in scores:
        metric = JAndF("after")
        metric.update(sample, read_result(out / task))
        assert float(score) == pytest.approx(100 * metric.compute()["J&F"], abs=0.051)
    masks, ids = read_masks(out / "first_frame_masks.png")
    assert ids == sample.read_truth(0).ids
    np.testing.assert_array_equal(masks, sample.read_truth(0).masks)
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 2 * video[0].shape[1]
        assert sheet.height > 5 * video[0].shape[0]
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "video.mp4").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "no earlier demo" in capsys.readouterr().err
    assert (tmp_path / "video.mp4").read_text() == "mine"


def test_bad_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--frames", "0"]) == 2
    assert "num_frames must be from 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
