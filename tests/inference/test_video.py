"""Frames in: every kind of source, in order, upright, and loud about damage."""

from __future__ import annotations

import functools
import gc
import itertools
import pickle
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segblocks.images import natural_key
from segblocks.inference import decode
from segblocks.inference.video import VideoReader, open_video
from tests.damage import damaged

av = pytest.importorskip("av")
HEIGHT, WIDTH = 48, 64


def gray_levels(count: int) -> np.ndarray:
    """Frames that say their number: frame i has the value 20 + 8 i everywhere."""
    values = 20 + 8 * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, HEIGHT, WIDTH, 3)).copy()


def write_video(path: Path, frames: np.ndarray, **options: str) -> Path:
    """A plain H.264 file, without the writer under test elsewhere."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "10"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def save_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name, pixels in zip(names, gray_levels(len(names)), strict=True):
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_video_file_gives_all_frames_in_order(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(20))
    reader = open_video(path)
    assert (reader.fps, reader.num_frames, reader.name) == (25.0, 20, str(path))
    frames = list(reader)
    assert all(f.shape == (HEIGHT, WIDTH, 3) and f.dtype == np.uint8 for f in frames)
    levels = np.array([f.mean() for f in frames])
    assert np.abs(levels - (20 + 8 * np.arange(20))).max() < 3


def test_reader_is_used_once_and_reopened(tmp_path: Path) -> None:
    reader = open_video(write_video(tmp_path / "a.mp4", gray_levels(4)), fps=10)
    first = list(reader)
    with pytest.raises(ValueError, match="reopen"):
        iter(reader)
    again = reader.reopen()
    assert again.fps == 10
    np.testing.assert_array_equal(list(again), first)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_of_phone_videos_is_applied(tmp_path: Path, turns: int) -> None:
    frame = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    frame[:, : HEIGHT // 2, : WIDTH // 2] = 255
    path = write_video(tmp_path / "a.mp4", frame.repeat(3, 0))
    # The track header's matrix maps stored (x, y) to (a x + c y, b x + d y); y points down, so
    # (a, b, c, d) = (0, 1, -1, 0) is a quarter turn clockwise.
    one = 1 << 16
    a, b, c, d = {1: (0, one, -one, 0), 2: (-one, 0, 0, -one), 3: (0, -one, one, 0)}[turns]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[start : start + 36] = matrix
    path.write_bytes(data)
    pixels = next(open_video(path))
    expected = np.rot90(frame[0], -turns)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 8


def test_natural_order_and_other_files(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "f", ["f1.png", "f2.PNG", "f10.bmp"])
    (folder / "notes.txt").write_text("no frame")
    (folder / ".hidden.png").write_bytes(b"no frame")
    reader = open_video(folder)
    assert (reader.fps, reader.num_frames) == (None, 3)
    np.testing.assert_array_equal([f[0, 0, 0] for f in reader], [20, 28, 36])
    assert open_video(folder, fps=5).fps == 5


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_key_sorts_numbers(numbers: list[int]) -> None:
    names = [f"Frame {n} a.png" for n in numbers]
    assert sorted(names, key=natural_key) == [f"Frame {n} a.png" for n in sorted(numbers)]


def test_exif_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(next(open_video(tmp_path / "a.png")), np.rot90(pixels, -1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA"])
def test_images_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(gray_levels(1)[0]).convert(mode)
    image.save(tmp_path / "a.png")
    reader = open_video(tmp_path / "a.png")
    assert reader.num_frames == 1
    (frame,) = reader
    np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))


def test_arrays_and_tensors_give_the_same_frames() -> None:
    video = noise(3)
    channels_last, channels_first = torch.from_numpy(video), torch.from_numpy(video).movedim(3, 1)
    for source in (video, channels_last, channels_first, list(video), list(channels_first)):
        reader = open_video(source)
        assert reader.num_frames == 3
        np.testing.assert_array_equal(list(reader), video)
        np.testing.assert_array_equal(list(reader.reopen()), video)


def test_iterator_is_read_lazily_and_once() -> None:
    taken: list[int] = []

    def camera() -> Iterator[np.ndarray]:
        for index, frame in enumerate(gray_levels(5)):
            taken.append(index)
            yield frame

    reader = open_video(camera())
    assert reader.num_frames is None
    assert taken == []
    next(reader)
    next(reader)
    assert taken == [0, 1]
    assert not reader.can_reopen
    with pytest.raises(ValueError, match="iterator"):
        reader.reopen()


def test_a_reused_buffer_does_not_change_given_frames() -> None:
    buffer = np.zeros((4, 4, 3), np.uint8)

    def camera() -> Iterator[np.ndarray]:
        for value in range(3):
            buffer[:] = value
            yield buffer

    assert [f[0, 0, 0] for f in list(open_video(camera()))] == [0, 1, 2]


def test_close_and_collection_release_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(30))
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("needs /proc")

    def is_open() -> bool:
        return any(h.resolve() == path for h in handles.iterdir())

    with open_video(path) as reader:
        next(reader)
        assert is_open()
    assert not is_open()
    assert next(reader, None) is None
    list(reader.reopen())
    assert not is_open()
    dropped = open_video(path)
    next(dropped)
    alive = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert alive() is None
    assert not is_open()


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe"}])
def test_truncated_mp4_raises(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_video(tmp_path / "a.mp4", noise(20), **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    with pytest.raises(ValueError, match=r"a\.mp4"):
        list(open_video(path))


def test_an_mkv_of_less_than_it_states_raises_after_its_whole_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mkv", noise(40))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    monkeypatch.setattr(decode, "missing_end", lambda *_: None)
    seen: list[np.ndarray] = []
    with pytest.raises(ValueError, match=r"a\.mkv.*after (\d+) frames"):
        seen.extend(open_video(path))
    assert 0 < len(seen) < 40


def test_a_matroska_that_starts_late_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for index, pixels in enumerate(gray_levels(10)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = 50 + index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert len(list(open_video(path))) == 10


def test_damage_in_the_middle_raises(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noise(20))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged after"):
        list(open_video(path))


@pytest.mark.parametrize("text", [b"Lavf", b"VideoHandler"])
def test_tags_need_not_be_utf8(tmp_path: Path, text: bytes) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(3))
    content = path.read_bytes()
    assert text in content
    path.write_bytes(content.replace(text, b"\xa5" + text[1:]))
    assert len(list(open_video(path))) == 3


@functools.cache
def written(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_video(Path(folder) / f"a.{suffix}", noise(6)).read_bytes()


def read_or_error(path: Path) -> list[np.ndarray] | ValueError:
    try:
        return list(open_video(path, max_frames=50))
    except ValueError as error:
        return error


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_frames_or_an_error_that_names_it(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data.draw(damaged(written(suffix), changes=9, cut=500, put=50)))
    read = read_or_error(path)
    if isinstance(read, ValueError):
        assert str(path) in str(read)
    else:
        assert all(frame.dtype == np.uint8 and frame.ndim == 3 for frame in read)


@pytest.mark.parametrize(
    "name",
    ["ünï 日本語 🎬.mp4", "a'b\"c $x;`&.mp4", f"{'n' * 240}.mp4", "two\nlines.mp4", "%05d.mp4"],
)
def test_any_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    folder = tmp_path.joinpath("d" * 200, "e" * 200, "f" * 200, "ß" * 100)
    folder.mkdir(parents=True)
    assert len(list(open_video(write_video(folder / name, gray_levels(2))))) == 2
    save_images(folder / name.removesuffix(".mp4"), ["ä 1.png", "ä 2.png"])
    assert len(list(open_video(folder / name.removesuffix(".mp4")))) == 2


@pytest.mark.parametrize("name", [f"{'n' * 300}.mp4", f"{'d/' * 3000}a.mp4", "nul\0.mp4"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises((OSError, ValueError), match=r"\.mp4"):
        open_video(tmp_path / name)


@pytest.mark.parametrize("size", [(2, 2), (6, 2), (2, 130)])
def test_small_videos(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = np.full((3, *size, 3), 200, np.uint8)
    back = np.stack(list(open_video(write_video(tmp_path / "a.mp4", frames))))
    assert back.shape == frames.shape
    assert abs(back.astype(int) - 200).max() < 4


def test_a_file_of_no_frames_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.start_encoding()
    with pytest.raises(ValueError, match=r"a\.mkv"):
        list(open_video(tmp_path / "a.mkv"))


def test_unreadable_sources_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        open_video(tmp_path / "nothing.mp4")
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        open_video(tmp_path / "nothing.png")
    for name, content in (("a.mp4", b""), ("b.mp4", b"not a video" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            open_video(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"c\.png"):
        list(open_video(tmp_path / "c.png"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match=r"a\.wav.*no video stream"):
        open_video(tmp_path / "a.wav")


def test_folders_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty.*no image"):
        open_video(tmp_path / "empty")
    folder = save_images(tmp_path / "both", ["1.bmp", "1.png"])
    with pytest.raises(ValueError, match=r"1\.bmp and 1\.png"):
        open_video(folder)
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="8 bits"):
        list(open_video(tmp_path / "deep.png"))


def test_a_cut_off_image_raises(tmp_path: Path) -> None:
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.png"):
        list(open_video(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((0, 4, 4, 3), np.uint8), "no frames"),
        (np.zeros((2, 4, 4, 1), np.uint8), r"\(T, H, W, 3\)"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\(T, H, W, 3\)"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"\(T, H, W, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), r"video\[None\]"),
        (np.zeros((2, 4, 4, 3), np.float32), "float32"),
        (torch.zeros(2, 3, 4, 4), "float32"),
    ],
)
def test_arrays_that_are_no_video(source: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_video(source)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "frame 1: is 5x4"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.int64)], "frame 1.*int64"),
        ([np.zeros((4, 4), np.uint8)], r"frame 0.*\(4, 4\)"),
        ([np.zeros((4, 0, 3), np.uint8)], "frame 0"),
        ([np.zeros((4, 4, 3), np.float64)], "frame 0.*float64"),
    ],
)
def test_bad_frames_raise_when_reached(frames: list[np.ndarray], message: str) -> None:
    reader = open_video(iter(frames))
    with pytest.raises(ValueError, match=message):
        list(reader)


@pytest.mark.parametrize("source", [5, None, {"a": 1}, b"a.mp4"])
def test_things_that_are_no_source(source: object) -> None:
    with pytest.raises(TypeError, match="source must be"):
        open_video(source)  # pyright: ignore[reportArgumentType]


def test_frames_of_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"frame 0.*int"):
        list(open_video(iter([3])))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_fps_must_be_positive(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        open_video(noise(1), fps=fps)


def test_missing_pyav_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'segblocks\[video\]'"):
        open_video(tmp_path / "a.mp4")


def test_a_reader_is_taken_as_it_is() -> None:
    reader = open_video(noise(2))
    assert open_video(reader, fps=7) is reader
    assert reader.fps == 7
    assert isinstance(reader, VideoReader)


def test_max_frames_ends_early_and_decodes_no_more(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(20))
    reader = open_video(path, max_frames=3, fps=7)
    assert reader.num_frames == 3
    assert len(list(reader)) == 3
    again = reader.reopen()
    assert (again.fps, len(list(again))) == (7, 3)
    assert open_video(path, max_frames=99).num_frames == 20
    endless = itertools.repeat(noise(1)[0])
    assert open_video(endless, max_frames=2).num_frames is None
    assert len(list(open_video(endless, max_frames=2))) == 2
    with pytest.raises(ValueError, match="max_frames"):
        open_video(path, max_frames=0)


def test_frames_keep_their_names(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "f", ["a.2.png", "a.10.png", "a.11.bmp"])
    reader = open_video(folder)
    assert reader.frame_names == ("a.2.png", "a.10.png", "a.11.bmp")
    assert open_video(folder, max_frames=2).frame_names == ("a.2.png", "a.10.png")
    assert reader.reopen().frame_names == reader.frame_names
    assert open_video(folder / "a.2.png").frame_names == ("a.2.png",)
    listed = [folder / "a.11.bmp", str(folder / "a.2.png")]
    assert open_video(listed).frame_names == ("a.11.bmp", "a.2.png")
    assert open_video([folder / "a.2.png"] * 2).frame_names is None
    assert open_video(iter(listed)).frame_names is None
    assert open_video(noise(2)).frame_names is None


def test_the_most_frames_that_there_can_be(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "f", ["1.png", "2.png"])
    for exact in (folder, noise(2), list(noise(2))):
        assert open_video(exact).most_frames == 2
        assert open_video(exact, max_frames=1).most_frames == 1
        assert open_video(exact, max_frames=3).most_frames == 2
    stated = write_video(tmp_path / "a.mp4", gray_levels(4))
    for unsure in (stated, iter(noise(2))):
        assert open_video(unsure).most_frames is None
    assert open_video(stated, max_frames=9).most_frames == 9


def test_a_copy_by_pickle_opens_its_path_again_and_holds_no_frames(tmp_path: Path) -> None:
    reader = open_video(save_images(tmp_path / "f", ["1.png", "2.png"]), fps=3, max_frames=1)
    next(reader)
    copy = pickle.loads(pickle.dumps(reader))
    assert (copy.name, copy.fps, copy.frame_names) == (reader.name, 3, ("1.png",))
    with pytest.raises(ValueError, match="used up"):
        iter(copy)
    np.testing.assert_array_equal(list(copy.reopen()), gray_levels(1))
    array = pickle.dumps(open_video(np.zeros((1, 500, 500, 3), np.uint8)))
    assert len(array) < 10_000
    with pytest.raises(ValueError, match="copied without its frames"):
        pickle.loads(array).reopen()


@pytest.mark.parametrize("url", ["https://a.org/b.mp4", "rtsp://camera/1", Path("http://a/b")])
def test_urls_are_not_read(url: str | Path) -> None:
    with pytest.raises(ValueError, match=r"URLs are not read; .*iterator"):
        open_video(url)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_images(tmp_path / "f", ["1.png"])
    assert open_video("~/f").path == tmp_path / "f"


def test_an_image_of_too_many_pixels_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: 3,072 pixels are too large"):
        list(open_video(tmp_path / "a.png"))


def test_an_empty_list_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="no frames"):
        open_video([])
