"""Saving: every file of every task, back again, and nothing after an error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.inference import writers
from segblocks.inference.encode import VideoWriter
from segblocks.inference.formats import kitti_step_picture, youtube_vis_records
from segblocks.inference.video import VideoReader, open_video
from segblocks.inference.writers import check_output, read_result, save_result
from segblocks.label_files import read_label_map
from segblocks.ops.label_map import label_map_from_masks
from segblocks.results import VideoSegmentation
from segblocks.tasks import EVS, PET, PVOS, VSS, RefVOS
from segblocks.viz import write_report
from tests.disk import full_disk
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


def test_a_report_is_the_page_of_the_result(tmp_path: Path) -> None:
    result = vis_result()
    result.save(tmp_path / "out", report=True)
    written = (tmp_path / "out" / "report.html").read_text("utf-8")
    page = write_report(tmp_path / "page.html", result, FRAMES, title="video array", fps=12)
    assert written == page.read_text("utf-8")
    result.save(tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "report.html").exists()


def build_rles(masks: tuple[np.ndarray, ...]) -> dict:
    from segblocks.ops.rle import encode

    return {t: encode(mask) for t, mask in enumerate(masks) if mask.any()}


@pytest.mark.parametrize("drawing", ["overlay", "report"])
def test_drawing_on_an_iterator_is_refused_before_anything_is_written(
    tmp_path: Path, drawing: str
) -> None:
    result = vis_result(open_video(iter(FRAMES)))
    with pytest.raises(ValueError, match="iterator"):
        result.save(tmp_path / "out", **{drawing: True})
    with pytest.raises(ValueError, match="does not know its video"):
        replace(result, source=None).save(tmp_path / "out", **{drawing: True})
    assert list(tmp_path.iterdir()) == []
    result.save(tmp_path / "out")


def test_a_source_that_lost_frames_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")
    result = vis_result(open_video(FRAMES[:2]))
    with pytest.raises(ValueError, match="3 frames when it was segmented, 2"):
        result.save(tmp_path / "out", overlay=True)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_removes_what_the_earlier_result_had_and_keeps_the_rest(tmp_path: Path) -> None:
    pytest.importorskip("av")
    out = tmp_path / "out"
    vis_result().save(out, overlay=True)
    (out / "notes.txt").write_text("mine")
    vis_result().save(out, overwrite=True)
    expected = ["notes.txt", "result.json", "results.json", *pictures("masks")]
    assert names(out) == sorted(expected)


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    vis_result().save(out)
    before = {name: (out / name).read_bytes() for name in names(out)}
    cases = [
        (vis_result, False, "holds an earlier result of vis; .*overwrite"),
        (vos_result, False, "holds a result of vis, this is of vos"),
        (vos_result, True, "holds a result of vis, this is of vos"),
    ]
    for make, overwrite, message in cases:
        with pytest.raises(FileExistsError, match=message) as caught:
            make().save(out, overwrite=overwrite)
        assert caught.value.filename == str(out)
    assert {name: (out / name).read_bytes() for name in names(out)} == before


@pytest.mark.parametrize("stranger", ["masks/precious.png", "notes.txt", "result.json"])
def test_files_of_others_are_not_overwritten(tmp_path: Path, stranger: str) -> None:
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text('{"format": "other"}')
    with pytest.raises(FileExistsError, match="no earlier result"):
        vos_result().save(tmp_path, overwrite=True)
    with pytest.raises(FileExistsError, match="no earlier result"):
        check_output(tmp_path, "vos", overwrite=True)
    assert names(tmp_path) == [stranger]


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    vos_result().save(tmp_path / "out")
    assert (tmp_path / "out" / "result.json").is_file()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vos_result().save("~/out") == tmp_path / "out"
    assert (tmp_path / "out" / "result.json").is_file()


def folder_of_frames(folder: Path) -> VideoReader:
    folder.mkdir()
    for t, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(folder / f"f.{2 * t}.bmp")
    return open_video(folder)


def test_pictures_bear_the_names_of_their_frames(tmp_path: Path) -> None:
    result = replace(vps_result(), source=folder_of_frames(tmp_path / "clip.v2"))
    result.save(tmp_path / "out")
    named = [
        f"{folder}/f.{t}.png" for folder in ("masks", "panoptic", "semantic") for t in (0, 2, 4)
    ]
    assert names(tmp_path / "out") == sorted(["result.json", "pred.json", *named])
    (video,) = json.loads((tmp_path / "out" / "pred.json").read_text())["annotations"]
    assert video["video_id"] == "clip.v2"
    assert [f["file_name"] for f in video["annotations"]] == ["f.0.png", "f.2.png", "f.4.png"]
    assert [f["image_id"] for f in video["annotations"]] == ["f.0", "f.2", "f.4"]
    back = read_result(tmp_path / "out")
    assert_same(back, result)
    back.save(tmp_path / "again")
    assert names(tmp_path / "again") == names(tmp_path / "out")


def test_submissions_say_what_they_are_told(tmp_path: Path) -> None:
    own = ["x", "y.jpg", "z.png"]
    vis_result().save(tmp_path / "vis", video_id=np.int64(17), frame_names=own)
    assert names(tmp_path / "vis")[:3] == ["masks/x.png", "masks/y.png", "masks/z.png"]
    records = json.loads((tmp_path / "vis" / "results.json").read_text())
    assert records
    assert {r["video_id"] for r in records} == {17}
    vps_result().save(tmp_path / "vps", video_id="26_abc", frame_names=own)
    (video,) = json.loads((tmp_path / "vps" / "pred.json").read_text())["annotations"]
    assert video["video_id"] == "26_abc"
    pet_result().save(
        tmp_path / "pet", video_id="seq-3", dataset="YFCC100M", split="val", frame_names=own
    )
    burst = json.loads((tmp_path / "pet" / "burst.json").read_text())
    (sequence,) = burst["sequences"]
    assert burst["split"] == "val"
    assert (sequence["seq_name"], sequence["dataset"]) == ("seq-3", "YFCC100M")
    assert sequence["annotated_image_paths"] == ["x.jpg", "y.jpg", "z.png"]
    pet_result().save(tmp_path / "pet2", video_id=5)
    (sequence,) = json.loads((tmp_path / "pet2" / "burst.json").read_text())["sequences"]
    assert (sequence["id"], sequence["seq_name"]) == (5, "video array")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (vos_result, {"video_id": 3}, "video_id has a place in the files of vis, vps, pet only"),
        (vis_result, {"split": "val"}, "split has a place in the files of pet only, this is vis"),
        (vis_result, {"video_id": "a"}, "whole number for this format, got 'a'"),
        (vis_result, {"frame_names": ["a", "b"]}, "3 names, one a frame, got 2"),
        (vis_result, {"frame_names": "abc"}, "3 names, one a frame, got 'abc'"),
        (vis_result, {"frame_names": ["a", "b", "a.png"]}, "differ, got 'a' twice"),
        (vis_result, {"frame_names": ["a", "b", "../c"]}, r"plain file names, got '\.\./c'"),
        (vis_result, {"frame_names": ["a", "b", ""]}, "plain file names, got ''"),
    ],
)
def test_what_does_not_fit_a_submission(
    tmp_path: Path, make: Make, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make().save(tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@ALL
def test_results_can_be_pickled(tmp_path: Path, make: Make) -> None:
    source = folder_of_frames(tmp_path / "clip")
    for result in (
        make(),
        replace(make(), source=source),
        replace(make(), source=open_video(iter(FRAMES))),
    ):
        copy = pickle.loads(pickle.dumps(result))
        assert_same(copy, result)
    replace(copy, source=pickle.loads(pickle.dumps(source))).save(tmp_path / "out")
    assert (tmp_path / "out" / "masks" / "f.0.png").is_file()


@ALL
def test_a_full_disk_names_the_folder(tmp_path: Path, make: Make) -> None:
    result = make()
    with full_disk(100), pytest.raises(OSError, match="cannot write") as caught:
        result.save(tmp_path / "a" / "out")
    assert str(caught.value.filename).startswith(str(tmp_path / "a" / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_with_the_overlay(tmp_path: Path) -> None:
    pytest.importorskip("av")
    result = replace(vis_result(), tracks=())
    with full_disk(1000), pytest.raises(OSError, match="cannot write") as caught:
        result.save(tmp_path / "out", overlay=True)
    assert caught.value.filename == str(tmp_path / "out" / "overlay.mp4")
    assert list(tmp_path.iterdir()) == []


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
