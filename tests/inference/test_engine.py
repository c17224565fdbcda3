from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from segblocks.inference import segment, stream
from segblocks.inference.heap import release_heap
from segblocks.nn.clip_output import ClipOutput
from segblocks.tasks import PET, VIS, VOS, VPS
from tests.oracle import OracleModel, squares_video, truth

CLASSES = ("ground", "cat", "dog", "cow", "hen")


def mask_of(video: NDArray[np.uint8], number: int, frame: int = 0) -> NDArray[np.bool_]:
    return truth(video, number)[frame][None]


def point_on(video: NDArray[np.uint8], number: int, frame: int = 0) -> list[tuple[int, int]]:
    y, x = np.argwhere(truth(video, number)[frame]).mean(axis=0).astype(int)
    return [(int(x), int(y))]


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("num_frames", [1, 3, 4, 5, 6, 13])
@pytest.mark.parametrize("clips", [(4, 2), (4, 3), (5, 1)])
def test_every_task_is_exact_in_one_pass(num_frames: int, clips: tuple[int, int]) -> None:
    video = squares_video(num_frames, present={1: range(num_frames), 2: range(num_frames)})
    tasks = [
        VOS(mask_of(video, 2)),
        VIS(CLASSES),
        PET(point_on(video, 1), ids=[7]),
        VOS(mask_of(video, 1), ids=[5]),
    ]
    vos, vis, pet, other = segment(
        OracleModel(), video, tasks, clip_length=clips[0], overlap=clips[1]
    )
    assert [track.id for r in (vos, pet, other) for track in r.tracks] == [1, 7, 5]
    np.testing.assert_array_equal(vos.tracks[0].masks(), truth(video, 2))
    np.testing.assert_array_equal(pet.tracks[0].masks(), truth(video, 1))
    np.testing.assert_array_equal(other.tracks[0].masks(), truth(video, 1))
    by_label = {track.label: track for track in vis.tracks}
    assert len(vis.tracks) == 2
    np.testing.assert_array_equal(by_label["cat"].masks(), truth(video, 1))
    np.testing.assert_array_equal(by_label["dog"].masks(), truth(video, 2))
    assert {r.num_frames for r in (vos, vis, pet, other)} == {num_frames}


def test_panoptic_paints_things_over_stuff() -> None:
    video = squares_video(9, present={1: range(9), 2: range(9)})
    vocabulary = VPS("kitti_step").resolve()
    # Square 1 is a thing, square 2 is stuff that fake instance queries claim too.
    model = OracleModel({1: vocabulary.thing_ids[0], 2: vocabulary.stuff_ids[3]})
    result = segment(model, video, VPS("kitti_step"), clip_length=4, overlap=2)
    assert [track.label for track in result.tracks] == [vocabulary.classes[vocabulary.thing_ids[0]]]
    np.testing.assert_array_equal(result.tracks[0].masks(), truth(video, 1))
    for t in range(9):
        expected = np.where(truth(video, 2)[t], vocabulary.stuff_ids[3], 0)
        np.testing.assert_array_equal(result.semantic(t), expected)
        assert len(result.panoptic(t).segments) == 3


def test_instances_that_enter_late_vanish_and_return() -> None:
    present = {1: range(12), 2: range(5, 12), 3: [0, 1, 2, 9, 10, 11]}
    video = squares_video(12, present=present)
    result = segment(OracleModel(), video, VIS(CLASSES), clip_length=4, overlap=2)
    by_label: dict[str | None, list[NDArray[np.bool_]]] = {}
    for track in result.tracks:
        by_label.setdefault(track.label, []).append(track.masks())
    np.testing.assert_array_equal(by_label["cat"], truth(video, 1)[None])
    np.testing.assert_array_equal(by_label["dog"], truth(video, 2)[None])
    # A square that is away for longer than the overlap comes back as another instance.
    assert len(by_label["cow"]) == 2
    np.testing.assert_array_equal(sum(by_label["cow"]), truth(video, 3))


def test_hinted_objects_that_enter_late_or_are_lost() -> None:
    present = {1: [0, 1, 2, 9, 10, 11], 2: range(4, 12), 3: range(12)}
    video = squares_video(12, present=present)
    hints = {
        1: mask_of(video, 1, 1),
        5: np.concatenate([mask_of(video, 2, 5), mask_of(video, 3, 5)]),
    }
    result = segment(
        OracleModel(), video, VOS(hints, {1: [4], 5: [2, 9]}), clip_length=4, overlap=2
    )
    assert [track.id for track in result.tracks] == [4, 2, 9]
    lost, late, other = (track.masks() for track in result.tracks)
    np.testing.assert_array_equal(lost[1:3], truth(video, 1)[1:3])
    assert not lost[0].any()
    assert not lost[3:].any(), "a lost object must not come back by itself"
    assert not late[:5].any()
    np.testing.assert_array_equal(late[5:], truth(video, 2)[5:])
    np.testing.assert_array_equal(other[5:], truth(video, 3)[5:])


def test_another_hint_brings_a_lost_object_back() -> None:
    video = squares_video(14, present={1: [0, 1, 8, 9, 10, 11, 12, 13]})
    hints = {0: mask_of(video, 1, 0), 9: mask_of(video, 1, 9)}
    task = VOS(hints, {0: [3], 9: [3]})
    result = segment(OracleModel(), video, task, clip_length=4, overlap=2)
    found = result.tracks[0].masks()
    np.testing.assert_array_equal(found[:2], truth(video, 1)[:2])
    np.testing.assert_array_equal(found[9:], truth(video, 1)[9:])


def test_frames_before_the_first_hint_and_between_objects_cost_no_model_call() -> None:
    video = squares_video(30, present={1: range(7, 10), 2: range(20, 30)})
    hints = {7: mask_of(video, 1, 7), 22: mask_of(video, 2, 22)}
    model = OracleModel()
    result = segment(model, video, VOS(hints), clip_length=4, overlap=2)
    starts = [frames[0] for frames, _ in model.asked]
    assert starts[0] == 7
    assert starts == [7, 9, 19, 21, 23, 25, 27]
    assert sum(model.extracted) == 6 + 11
    np.testing.assert_array_equal(result.tracks[0].masks(), truth(video, 1))
    np.testing.assert_array_equal(result.tracks[1].masks()[22:], truth(video, 2)[22:])
    assert not result.tracks[1].masks()[:22].any()


def test_a_point_in_shared_frames_makes_one_object() -> None:
    video = squares_video(9, present={1: range(9), 2: range(9)})
    model = OracleModel()
    task = PET({0: point_on(video, 1, 0), 3: point_on(video, 2, 3)})
    result = segment(model, video, task, clip_length=4, overlap=2)
    asked = [[(t.name, t.object_ids) for t in tasks] for _, tasks in model.asked]  # type: ignore[attr-defined]
    assert asked[0] == [("pet", (1, 2))]
    assert all(tasks == [("vos", (1, 2))] for tasks in asked[1:])
    np.testing.assert_array_equal(result.tracks[0].masks(), truth(video, 1))
    np.testing.assert_array_equal(result.tracks[1].masks()[3:], truth(video, 2)[3:])
    assert not result.tracks[1].masks()[:3].any()


@pytest.mark.parametrize(
    ("size", "short_side"), [((33, 70), 96), ((250, 190), 120), ((64, 65), 64)]
)
def test_odd_sizes_are_resized_there_and_back(size: tuple[int, int], short_side: int) -> None:
    video = np.zeros((6, *size, 3), np.uint8)
    for t in range(6):
        video[t, 2:30, 5 + 3 * t : 40 + 3 * t, 0] = 20
    tasks = [VOS(mask_of(video, 1)), PET(point_on(video, 1)), VIS(CLASSES)]
    results = segment(OracleModel(), video, tasks, clip_length=4, overlap=2, short_side=short_side)
    for result in results:
        assert result.size == size
        assert iou(result.tracks[0].masks(), truth(video, 1)) > 0.8


@given(
    num_frames=st.integers(1, 40),
    clips=st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
)
@settings(max_examples=40, deadline=None)
def test_every_frame_comes_out_once_and_in_order(num_frames: int, clips: tuple[int, int]) -> None:
    video = squares_video(num_frames, (8, 32))
    model = OracleModel()
    results = stream(model, video, VIS(CLASSES), clip_length=clips[0], overlap=clips[1])
    frames = list(results)
    assert [frame.index for frame in frames] == list(range(num_frames))
    for frame, expected in zip(frames, truth(video, 1), strict=True):
        np.testing.assert_array_equal(frame.masks, expected[None])
    assert sum(model.extracted) == num_frames, "a frame's features are computed once"
    if clips[1]:
        assert {frame.ids for frame in frames} == {(1,)}


def test_lists_generators_and_arrays_give_the_same() -> None:
    video = squares_video(11, present={1: range(11), 2: range(3, 11)})
    task = VIS(CLASSES)
    sources = [video, list(video), (frame for frame in video), torch.from_numpy(video)]
    results = [segment(OracleModel(), source, task, clip_length=4) for source in sources]
    for result in results:
        assert [track.rles for track in result.tracks] == [t.rles for t in results[0].tracks]


def test_stream_yields_before_the_source_ends() -> None:
    video = squares_video(40, (8, 32))
    read = 0

    def camera() -> Iterator[NDArray[np.uint8]]:
        nonlocal read
        for frame in video:
            read += 1
            yield frame

    for frame in stream(OracleModel(), camera(), VIS(CLASSES), clip_length=6, overlap=2):
        assert read <= frame.index + 7, "a frame waits for the end of its clip and one frame more"


def test_model_is_trained_before_between_and_after_but_not_while_it_works() -> None:
    video = squares_video(9, (8, 32))
    model = OracleModel().train()
    model.layer.eval()
    for _ in stream(model, video, VIS(CLASSES), clip_length=4):
        assert model.training
        assert not torch.is_inference_mode_enabled()
    assert model.training
    assert not model.layer.training, "a module that was kept in evaluation mode stays in it"
    assert model.modes
    assert not any(model.modes)


def test_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    closed = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        try:
            yield from squares_video(40, (8, 32))
        finally:
            closed.append(True)

    model = OracleModel().train()
    results = stream(model, camera(), [VIS(CLASSES)], clip_length=4)
    assert [r[0].index for r in islice(results, 3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    gc.collect()
    assert closed
    assert model.training


def test_a_long_stream_keeps_its_memory_flat() -> None:
    video = squares_video(20, (192, 320), {1: range(20), 2: range(20)})

    def frames() -> Iterator[NDArray[np.uint8]]:
        for t in range(400):
            yield video[t % 20]

    def resident() -> int:
        gc.collect()
        release_heap()
        return psutil.Process().memory_info().rss

    model = OracleModel()
    tasks = [VIS(CLASSES), VOS(mask_of(video, 1))]
    before = 0
    for first, _ in stream(model, frames(), tasks, clip_length=6, overlap=3):
        model.asked.clear()
        if first.index == 100:
            before = resident()
    # Three hundred decoded frames alone would be 55 MB.
    assert resident() - before < 15e6


def test_bad_input_is_named() -> None:
    video = squares_video(5, (8, 32))
    model = OracleModel()
    with pytest.raises(ValueError, match=r"frames 0 to 4 .* 5 frames; got frame 9"):
        segment(model, video, VOS({0: mask_of(video, 1), 9: mask_of(video, 1)}))
    with pytest.raises(ValueError, match=r"frames 0 to 4 .* got frame 9"):
        segment(model, iter(video), VOS({9: mask_of(video, 1)}))
    with pytest.raises(ValueError, match="size of the frames"):
        segment(model, video, VOS(np.ones((1, 8, 31), bool)))
    with pytest.raises(ValueError, match="inside the 32x8 frame"):
        segment(model, video, PET([(40, 2)]))
    with pytest.raises(ValueError, match="no frames"):
        segment(model, iter(()), VIS(CLASSES))
    with pytest.raises(ValueError, match="all frames of a video must have one size"):
        segment(model, [video[0], video[0, :, :16]], VIS(CLASSES))
    with pytest.raises(ValueError, match="overlap must be from 0 to clip_length - 1"):
        stream(model, video, VIS(CLASSES), clip_length=4, overlap=4)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        stream(model, "nowhere.mp4", VIS(CLASSES))


def test_unknown_settings_list_close_and_known_ones() -> None:
    video = squares_video(5, (8, 32))
    with pytest.raises(TypeError) as caught:
        segment(OracleModel(), video, VIS(CLASSES), clip_lenght=4)
    text = str(caught.value)
    assert "segment: OracleModel has no setting 'clip_lenght'; did you mean 'clip_length'?" in text
    for name in ("overlap", "max_frames", "device", "progress", "min_score", "official_compat"):
        assert name in text
    with pytest.raises(TypeError, match="stream: OracleModel has no setting 'colour'"):
        stream(OracleModel(), video, VIS(CLASSES), colour="red")


@pytest.mark.parametrize("name", ["clip_length", "overlap", "short_side", "max_frames"])
@pytest.mark.parametrize("value", [4.5, 4.0, "4", True])
def test_numbers_must_be_whole(name: str, value: object) -> None:
    video = squares_video(5, (8, 32))
    with pytest.raises(TypeError, match=f"{name} must be a whole number, got {value!r}"):
        segment(OracleModel(), video, VIS(CLASSES), **{name: value})


def test_numbers_of_numpy_are_whole() -> None:
    video = squares_video(9, (8, 32))
    result = segment(
        OracleModel(), video, VIS(CLASSES), clip_length=np.int64(4), max_frames=np.int32(6)
    )
    assert result.num_frames == 6


@pytest.mark.parametrize(
    ("name", "value"), [("clip_length", 0), ("overlap", -1), ("short_side", -3), ("max_frames", 0)]
)
def test_numbers_must_not_be_too_small(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least .*, got {value}"):
        stream(OracleModel(), squares_video(5, (8, 32)), VIS(CLASSES), **{name: value})


def test_max_frames_ends_early() -> None:
    video = squares_video(20, present={1: range(20)})
    read = []
    camera = (read.append(t) or frame for t, frame in enumerate(video))
    result = segment(OracleModel(), camera, VOS(mask_of(video, 1)), clip_length=4, max_frames=7)
    np.testing.assert_array_equal(result.tracks[0].masks(), truth(video, 1)[:7])
    assert len(read) == 7


@pytest.mark.parametrize("source", ["array", "list", "folder", "limited"])
def test_hints_beyond_the_end_are_told_before_any_work(source: str, tmp_path: Path) -> None:
    video = squares_video(5, (8, 32))
    for t, frame in enumerate(video):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    given: Any = {"array": video, "list": list(video), "folder": tmp_path}.get(source, iter(video))
    limit = 3 if source == "limited" else None
    last = (limit or 5) - 1
    model = OracleModel()
    for start in (segment, stream):
        with pytest.raises(
            ValueError, match=rf"VOS: .*frames 0 to {last} of .*; got frame {last + 1}"
        ):
            start(
                model,
                given,
                VOS({0: mask_of(video, 1), last + 1: mask_of(video, 1)}),
                max_frames=limit,
            )
    assert not model.extracted
    assert not model.asked


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tarvis_resnet50", r"got 'tarvis_resnet50'; segblocks\.create_model\('tarvis_resnet50'\)"),
        (None, "got NoneType"),
        (torch.nn.Linear(1, 1), "got Linear, which has no video_policy"),
    ],
)
def test_things_that_are_no_model(model: Any, message: str) -> None:
    for start in (segment, stream):
        with pytest.raises(TypeError, match=f"{start.__name__}: model must be .*{message}"):
            start(model, squares_video(2, (8, 32)), VIS(CLASSES))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there(device: str) -> None:
    model = OracleModel()
    with pytest.raises(ValueError, match=f"segment: device {device}: not to be had here"):
        segment(model, squares_video(2, (8, 32)), VIS(CLASSES), device=device)
    assert not model.asked


def test_logits_that_are_not_numbers_are_an_error() -> None:
    class Broken(OracleModel):
        def extract(self, frames: torch.Tensor) -> dict[int, torch.Tensor]:
            return {4: super().extract(frames)[4] * torch.nan}

    with pytest.raises(ValueError, match="mask features hold NaN in frames 0 to 3"):
        segment(Broken(), squares_video(9, (8, 32)), VIS(CLASSES), clip_length=4)


def test_progress_counts_frames(capsys: pytest.CaptureFixture[str]) -> None:
    segment(OracleModel(), squares_video(9, (8, 32)), VIS(CLASSES), progress=True)
    assert "9/9" in capsys.readouterr().err
    segment(OracleModel(), squares_video(9, (8, 32)), VIS(CLASSES))
    assert capsys.readouterr().err == ""


def test_model_moves_only_when_it_is_asked_to() -> None:
    model = OracleModel()
    moves: list[torch.device] = []
    model.to = lambda device: moves.append(device)  # type: ignore[method-assign]
    segment(model, squares_video(3, (8, 32)), VIS(CLASSES))
    assert not moves
    segment(model, squares_video(3, (8, 32)), VIS(CLASSES), device="cpu")
    assert moves == [torch.device("cpu")]


class Hungry(OracleModel):
    """Runs out of memory on clips of more than three frames."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[weakref.ref[torch.Tensor]] = []

    def forward(self, frames: torch.Tensor, *args: Any, **options: Any) -> ClipOutput:
        activations = torch.zeros(1000)
        self.held.append(weakref.ref(activations))
        if frames.shape[1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nDetails")
        return super().forward(frames, *args, **options)


def test_out_of_memory_says_what_to_lower_and_holds_nothing() -> None:
    model = Hungry().train()
    video = squares_video(9)
    message = (
        r"^out of memory at frames 0 to 4 of 32x64 pixels: lower short_side \(--short-side, now 32"
        r"\) or clip_length \(--clip-length, now 5\), .*--device cpu\); CUDA.*allocate 9 GiB\.$"
    )
    with pytest.raises(torch.OutOfMemoryError, match=message) as caught:
        segment(model, video, VOS(mask_of(video, 1)), clip_length=5)
    assert caught.value.__context__ is None
    assert [reference() for reference in model.held] == [None]
    assert model.training
    result = segment(model, video, VOS(mask_of(video, 1)), clip_length=3, overlap=1)
    np.testing.assert_array_equal(result.tracks[0].masks(), truth(video, 1))
