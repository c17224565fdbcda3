"""Saving: every file of every task, back again, and nothing after an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.inference import writers
from segblocks.inference.encode import VideoWriter
from segblocks.inference.formats import kitti_step_picture, youtube_vis_records
from segblocks.inference.video import open_video
from segblocks.inference.writers import check_output, read_result, save_result
from segblocks.label_files import read_label_map
from segblocks.ops.label_map import label_map_from_masks
from segblocks.results import VideoSegmentation
from segblocks.tasks import EVS, PET, PVOS, VSS, RefVOS
from tests.inference.results_by_hand import (
    FRAMES,
    MASKS,
    SIZE,
    STREET,
    build,
    pet_result,
    vis_result,
    vos_result,
    vps_result,
)

ALL = pytest.mark.parametrize("make", [vis_result, vps_result, vos_result, pet_result])
Make = Callable[[], VideoSegmentation]


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def pictures(folder: str) -> list[str]:
    return [f"{folder}/{t:05d}.png" for t in range(3)]


def assert_same(first: VideoSegmentation, second: VideoSegmentation) -> None:
    assert (first.num_frames, first.size) == (second.num_frames, second.size)
    assert type(first.task) is type(second.task)
    assert first.vocabulary == second.vocabulary
    for a, b in zip(first.tracks, second.tracks, strict=True):
        assert (a.id, a.label, a.score) == (b.id, b.label, b.score)
        assert a.rles == b.rles
        np.testing.assert_equal(a.class_scores, b.class_scores)
    for t in range(first.num_frames if first.has_semantic else 0):
        np.testing.assert_array_equal(first.semantic(t), second.semantic(t))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (vis_result, ["results.json"]),
        (vps_result, ["pred.json", *pictures("panoptic"), *pictures("semantic")]),
        (lambda: vps_result("kitti_step"), [*pictures("kitti_step"), *pictures("semantic")]),
        (vos_result, []),
        (pet_result, ["burst.json"]),
        (lambda: build(VSS(STREET), STREET, semantic=True), pictures("semantic")),
    ],
)
def test_files_of_each_task(tmp_path: Path, make: Make, expected: list[str]) -> None:
    assert make().save(tmp_path / "out") == tmp_path / "out"
    assert names(tmp_path / "out") == sorted(["result.json", *pictures("masks"), *expected])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@ALL
def test_round_trip(tmp_path: Path, make: Make) -> None:
    result = make()
    result.save(tmp_path / "out")
    back = read_result(tmp_path / "out")
    assert_same(back, result)
    assert (back.source.name, back.source.fps) == ("video array", 12)
    with pytest.raises(ValueError, match="only its result"):
        back.source.reopen()
    back.save(tmp_path / "again")
    for name in names(tmp_path / "out"):
        first, second = (tmp_path / folder / name for folder in ("out", "again"))
        assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize(
    "task",
    [
        PET({0: [(1.5, 2)], 2: [(3, 4), (5, 6)]}, ids={0: [9], 2: [4, 9]}),
        EVS(boxes=[(1, 2, 5, 6.5)]),
        EVS(masks={1: np.stack([MASKS[1][0]])}, ids={1: [3]}),
        PVOS(np.stack([MASKS[1][0]])),
        RefVOS(["the left dog", "the right dog"]),
    ],
)
def test_tasks_come_back_with_their_hints(tmp_path: Path, task: PET | RefVOS) -> None:
    build(task).save(tmp_path / "out")
    back = read_result(tmp_path / "out" / "result.json").task
    assert type(back) is type(task)
    if isinstance(task, RefVOS):
        assert back == task
        return
    assert list(back.hints) == list(task.hints)
    for frame, hints in task.hints.items():
        assert back.hints[frame].ids == hints.ids
        np.testing.assert_array_equal(back.hints[frame].values, hints.values)


def test_masks_are_label_maps_with_the_higher_score_on_top(tmp_path: Path) -> None:
    vis_result().save(tmp_path / "out")
    for t in range(3):
        expected = label_map_from_masks(np.stack([MASKS[2][t], MASKS[1][t]]), [2, 1])
        path = tmp_path / "out" / "masks" / f"{t:05d}.png"
        np.testing.assert_array_equal(read_label_map(path), expected)
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("P", SIZE[::-1])


def test_high_ids_make_16_bit_masks_in_every_frame(tmp_path: Path) -> None:
    vos_result({1: MASKS[1], 300: MASKS[2]}).save(tmp_path / "out")
    for t in range(3):
        with Image.open(tmp_path / "out" / "masks" / f"{t:05d}.png") as image:
            assert image.mode == "I;16"
            assert (np.array(image) == 300).any() == bool(MASKS[2][t].any())


def test_vis_submission(tmp_path: Path) -> None:
    result = vis_result()
    result.save(tmp_path / "out")
    records = json.loads((tmp_path / "out" / "results.json").read_text())
    assert records == youtube_vis_records(result)


def test_vps_submission_agrees_with_its_pictures(tmp_path: Path) -> None:
    vps_result().save(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "pred.json").read_text())
    (video,) = content["annotations"]
    assert {c["id"]: (c["name"], c["isthing"]) for c in content["categories"]} == {
        7: ("road", 0),
        26: ("car", 1),
        24: ("person", 1),
    }
    track_categories: dict[int, set[int]] = {}
    for frame in video["annotations"]:
        with Image.open(tmp_path / "out" / "panoptic" / frame["file_name"]) as image:
            colors = np.array(image).astype(int)
        ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
        info = {s["id"]: s for s in frame["segments_info"]}
        assert set(info) == set(np.unique(ids).tolist()) - {0}
        for number, segment in info.items():
            assert (ids == number).sum() == segment["area"]
            track_categories.setdefault(number, set()).add(segment["category_id"])
    assert track_categories == {1: {7}, 4: {26}, 5: {24}}


def test_kitti_step_pictures(tmp_path: Path) -> None:
    result = vps_result("kitti_step")
    result.save(tmp_path / "out")
    with Image.open(tmp_path / "out" / "kitti_step" / "00001.png") as image:
        expected = kitti_step_picture(result.panoptic(1), result.vocabulary)
        np.testing.assert_array_equal(np.array(image), expected)


def test_overlay_has_every_frame_and_draws_on_it(tmp_path: Path) -> None:
    pytest.importorskip("av")
    big = {i: tuple(np.kron(m, np.ones((8, 8), bool)) for m in masks) for i, masks in MASKS.items()}
    with VideoWriter(tmp_path / "in.mp4", 30, (96, 128)) as writer:
        for _ in range(5):
            writer.write(np.full((96, 128, 3), 100, np.uint8))
    source = open_video(tmp_path / "in.mp4", max_frames=3)
    result = replace(
        vos_result(),
        size=(96, 128),
        source=source,
        tracks=tuple(
            replace(t, size=(96, 128), rles=build_rles(big[t.id])) for t in vos_result().tracks
        ),
    )
    result.save(tmp_path / "out", overlay=True)
    reader = open_video(tmp_path / "out" / "overlay.mp4")
    assert reader.fps == 30
    frames = list(reader)
    assert len(frames) == 3
    # Object 1 is painted in dark red, (128, 0, 0); the ground stays gray.
    assert np.abs(frames[1][30, 12].astype(int) - (114, 50, 50)).max() < 12
    assert np.abs(frames[1][90, 4].astype(int) - 100).max() < 8
    again = read_result(tmp_path / "out")
    assert again.source.fps == 30
    again.save(tmp_path / "again", overlay=True)
    assert len(list(open_video(tmp_path / "again" / "overlay.mp4"))) == 3


def build_rles(masks: tuple[np.ndarray, ...]) -> dict:
    from segblocks.ops.rle import encode

    return {t: encode(mask) for t, mask in enumerate(masks) if mask.any()}


def test_overlay_of_an_iterator_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    result = vis_result(open_video(iter(FRAMES)))
    with pytest.raises(ValueError, match="iterator"):
        result.save(tmp_path / "out", overlay=True)
    with pytest.raises(ValueError, match="does not know its video"):
        replace(result, source=None).save(tmp_path / "out", overlay=True)
    assert list(tmp_path.iterdir()) == []
    result.save(tmp_path / "out")


def test_a_source_that_lost_frames_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")
    result = vis_result(open_video(FRAMES[:2]))
    with pytest.raises(ValueError, match="3 frames when it was segmented, 2"):
        result.save(tmp_path / "out", overlay=True)
    assert list(tmp_path.iterdir()) == []


def test_saving_again_replaces_and_removes_what_the_earlier_result_had(tmp_path: Path) -> None:
    pytest.importorskip("av")
    out = tmp_path / "out"
    vps_result().save(out, overlay=True)
    (out / "notes.txt").write_text("mine")
    vis_result().save(out)
    expected = ["notes.txt", "result.json", "results.json", *pictures("masks")]
    assert names(out) == sorted(expected)


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "precious.png").write_text("mine")
    for save in (vos_result().save, check_output):
        with pytest.raises(ValueError, match="masks"):
            save(tmp_path)
    assert names(tmp_path) == ["masks/precious.png"]
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match=r"result\.json"):
        check_output(tmp_path)


@ALL
def test_an_error_while_writing_leaves_nothing(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(writers, "write_label_map", fail)
    with pytest.raises(OSError, match="disk full"):
        make().save(tmp_path / "a" / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        save_result(vos_result(), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "JSON"),
        ("[]", "no result"),
        ('{"format": "segblocks.result", "version": 99}', "version 99"),
        ('{"format": "segblocks.result", "version": 1}', "incomplete"),
    ],
)
def test_files_that_are_no_result(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_result(tmp_path)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"result\.json"):
        read_result(tmp_path)
