"""Files cut off at any byte, in formats whose decoder does not notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segblocks.inference.container_end import missing_end
from segblocks.inference.video import open_video

av = pytest.importorskip("av")

GIF = ("a.gif", "gif", "gif", "rgb8", {})
TS = ("a.ts", "mpegts", "mpeg2video", "yuv420p", {})
LIVE_MKV = ("a.mkv", "matroska,webm", "libx264", "yuv420p", {"live": "1"})
LIVE_WEBM = ("a.webm", "matroska,webm", "libvpx", "yuv420p", {"live": "1"})
MKV = ("a.mkv", "matroska,webm", "libx264", "yuv420p", {})
ALL = pytest.mark.parametrize("kind", [GIF, TS, LIVE_MKV, LIVE_WEBM, MKV], ids=lambda k: k[0])
Kind = tuple[str, str, str, str, dict[str, str]]
FRAMES = 8


def write(folder: Path, kind: Kind) -> Path:
    name, _, codec, pixel_format, options = kind
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 48, 64, 3), dtype=np.uint8)
    with av.open(str(folder / name), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixel_format
        for index, pixels in enumerate(noise):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder / name


@ALL
def test_a_whole_file_is_whole(tmp_path: Path, kind: Kind) -> None:
    path = write(tmp_path, kind)
    assert missing_end(path, kind[1]) is None
    assert len(list(open_video(path))) == FRAMES


@ALL
def test_every_cut_but_that_between_two_packets_is_seen(tmp_path: Path, kind: Kind) -> None:
    path = write(tmp_path, kind)
    data = path.read_bytes()
    unseen = []
    for end in range(1, len(data), 61):
        path.write_bytes(data[:end])
        if missing_end(path, kind[1]) is None:
            unseen.append(end)
    # A packet of MPEG-TS and an element of Matroska do not say that another follows.
    assert all(end % 188 == 0 for end in unseen) if kind is TS else len(unseen) <= 2
    assert not unseen or kind is not GIF


@pytest.mark.parametrize("kind", [GIF, TS, LIVE_MKV, LIVE_WEBM], ids=lambda k: k[0])
def test_a_short_video_is_never_made_of_a_longer_one(tmp_path: Path, kind: Kind) -> None:
    path = write(tmp_path, kind)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5 // 188 * 188 + 70])
    with pytest.raises(ValueError, match=rf"{path.name}: the video is cut off"):
        open_video(path)


@pytest.mark.parametrize("kind", [GIF, MKV], ids=lambda k: k[0])
def test_what_follows_the_end_does_not_matter(tmp_path: Path, kind: Kind) -> None:
    path = write(tmp_path, kind)
    path.write_bytes(path.read_bytes() + bytes(99))
    assert missing_end(path, kind[1]) is None


def test_other_formats_are_left_to_the_decoder(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    assert missing_end(tmp_path / "a.mp4", "mov,mp4,m4a,3gp,3g2,mj2") is None
    assert missing_end(tmp_path / "camera", "gif") is None
