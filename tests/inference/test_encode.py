"""The video writer: what comes back is what went in, and errors leave nothing behind."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from segblocks.inference.encode import VideoWriter
from segblocks.inference.video import open_video

av = pytest.importorskip("av")


def smooth(count: int, height: int, width: int) -> np.ndarray:
    """Coloured ramps that move, which 4:2:0 keeps well."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    red, green = 3 * x, 3 * y
    return np.stack([red, green, (10 * t + 128) % 256], -1).astype(np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (47, 64), (48, 63), (33, 35), (1, 1), (2, 3)])
def test_round_trip(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = smooth(5, *size)
    with VideoWriter(tmp_path / "a.mp4", 12.5, size) as writer:
        for frame in frames:
            writer.write(frame)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    reader = open_video(tmp_path / "a.mp4")
    assert (reader.fps, reader.num_frames) == (12.5, 5)
    back = np.stack(list(reader))
    height, width = size
    assert back.shape == (5, height + height % 2, width + width % 2, 3)
    error = np.abs(back[:, :height, :width].astype(int) - frames)
    assert error.mean() < 4
    np.testing.assert_allclose(back[:, -1, :width].astype(int), frames[:, -1].astype(int), atol=40)


def test_saturated_colours_and_their_tags(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]])
    frame = np.repeat(np.repeat(colours[None], 16, 0), 16, 1).astype(np.uint8)
    with VideoWriter(tmp_path / "a.mp4", 24, (16, 80)) as writer:
        writer.write(frame)
    back = next(open_video(tmp_path / "a.mp4"))
    centres = back[8, 8::16].astype(int)
    assert np.abs(centres - colours).max() <= 6
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert int(stream.codec_context.colorspace) == 1


def test_ntsc_rate_is_exact(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 29.97002997, (16, 16)) as writer:
        for frame in smooth(3, 16, 16):
            writer.write(frame)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert str(container.streams.video[0].average_rate) == "30000/1001"


def test_errors_leave_nothing_and_keep_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")

    def fail() -> None:
        with VideoWriter(path, 24, (16, 16)) as writer:
            writer.write(np.zeros((16, 16, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    abandoned = VideoWriter(path, 24, (16, 16))
    abandoned.write(np.zeros((16, 16, 3), np.uint8))
    del abandoned
    gc.collect()
    with pytest.raises(ValueError, match="no frame"), VideoWriter(path, 24, (16, 16)):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"older"


def test_bad_frames(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 24, (16, 20)) as writer:
        writer.write(np.zeros((16, 20, 3), np.uint8))
        for bad, message in (
            (np.zeros((20, 16, 3), np.uint8), r"frame 1: expected \(16, 20\)"),
            (np.zeros((16, 20, 3), np.float32), "float32"),
            (np.zeros((16, 20), np.uint8), r"\(H, W, 3\)"),
        ):
            with pytest.raises(ValueError, match=message):
                writer.write(bad)
    with pytest.raises(ValueError, match="closed"):
        writer.write(np.zeros((16, 20, 3), np.uint8))
    assert len(list(open_video(tmp_path / "a.mp4"))) == 1


@pytest.mark.parametrize(
    ("name", "fps", "size", "message"),
    [
        ("a.mp4", 0, (16, 16), "fps"),
        ("a.mp4", float("nan"), (16, 16), "fps"),
        ("a.mp4", 24, (0, 16), "size"),
        ("missing/a.mp4", 24, (16, 16), "no folder"),
        ("a.unknown", 24, (16, 16), "cannot write"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, name: str, fps: float, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VideoWriter(tmp_path / name, fps, size)
    assert list(tmp_path.iterdir()) == []
