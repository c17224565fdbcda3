"""The demo, shortened: all four tasks, all files, and plain words about its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.cli import main
from segblocks.inference.mask_files import read_masks
from segblocks.inference.video import open_video
from segblocks.inference.writers import read_result

pytest.importorskip("av")


def test_demo_writes_everything_and_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--frames", "2", "--out", str(out), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "not trained" in told
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
    masks, ids = read_masks(out / "first_frame_masks.png")
    assert (ids, masks.shape[1:]) == ((1, 2, 3), video[0].shape[:2])
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
    assert "0 frames" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
