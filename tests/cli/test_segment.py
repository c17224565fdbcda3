"""``segblocks segment``: the real pipeline on a small video, and what users get wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segblocks import zoo
from segblocks.cli import build_parser, main
from segblocks.cli.segment import build_task
from segblocks.inference import engine
from segblocks.inference.video import open_video
from segblocks.label_files import read_label_map, write_label_map
from segblocks.ops.label_map import label_map_from_masks
from segblocks.results import Track, VideoSegmentation
from segblocks.tasks import EVS, PET, VIS, VOS, VPS
from segblocks.zoo.checkpoint import save_safetensors
from segblocks.zoo.rule_weights import fill_by_rule
from segblocks.zoo.tarvis import TarViS
from segblocks.zoo.univs import UniVS
from tests.cli.shapes_video import make_shapes_video
from tests.zoo.small_systems import make_system
from tests.zoo.test_univs import TINY

HEIGHT, WIDTH, FRAMES = 33, 64, 3
MODEL = "tarvis_resnet50"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    model: Any = zoo.create_model(MODEL)
    fill_by_rule(model)
    save_safetensors(model.state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a video of three frames, and masks of its three objects."""
    video = make_shapes_video(FRAMES, HEIGHT, WIDTH)
    (tmp_path / "video").mkdir()
    for t, frame in enumerate(video.frames):
        Image.fromarray(frame).save(tmp_path / "video" / f"{t}.png")
    labels = label_map_from_masks(video.masks[:, 0], [1, 4, 300])
    write_label_map(tmp_path / "masks.png", labels)
    return tmp_path


def words(folder: Path, task: str, *options: str, checkpoint: Path | str = "w.pth") -> list[str]:
    common = ["segment", str(folder / "video"), "--model", MODEL, "--checkpoint", str(checkpoint)]
    return [*common, "--task", task, "--out", str(folder / "out"), "--device", "cpu", *options]


@pytest.mark.parametrize(
    ("task", "options", "files"),
    [
        ("vis", ["--classes", "dog,person"], {"results.json"}),
        ("vps", ["--vocabulary", "cityscapes_vps"], {"pred.json", "panoptic", "semantic"}),
        ("vos", ["--mask", "masks.png"], set()),
        ("pet", ["--point", "13,10", "--point", "32,8", "--point", "0:50,22"], {"burst.json"}),
    ],
)
def test_every_task_end_to_end(
    folder: Path,
    checkpoint: Path,
    task: str,
    options: list[str],
    files: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("av")
    monkeypatch.chdir(folder)
    more = ["--short-side", "0", "--clip-length", "2", "--overlap", "1", "--no-progress"]
    assert main(words(folder, task, *options, *more, checkpoint=checkpoint)) == 0
    captured = capsys.readouterr()
    assert "3 frames" in captured.out
    assert captured.err == ""
    out = folder / "out"
    common = {"result.json", "masks", "overlay.mp4"}
    assert {p.name for p in out.iterdir()} == common | files
    masks = sorted((out / "masks").iterdir())
    assert [read_label_map(p).shape for p in masks] == [(HEIGHT, WIDTH)] * FRAMES
    assert len(list(open_video(out / "overlay.mp4"))) == FRAMES
    result = json.loads((out / "result.json").read_text())
    if task in ("vos", "pet"):
        assert [t["id"] for t in result["tracks"]] == ([1, 4, 300] if task == "vos" else [1, 2, 3])
    if task == "vis":
        assert {t["label"] for t in result["tracks"]} <= {"dog", "person"}


@pytest.mark.parametrize(
    ("task", "options", "tracks"),
    [
        ("refvos", ["--text", "the red star", "--text", "a ring"], [1, 2]),
        ("evs", ["--box", "2,3,30,20", "--box", "1:-0.0,5,20,30"], [1, 2]),
        ("vss", ["--vocabulary", "vspw", "--classes", "wall,sky"], []),
        ("vps", ["--classes", "person,sky", "--min-score", "0.9"], []),
    ],
)
def test_a_model_of_prompts_takes_sentences_and_boxes(
    folder: Path, task: str, options: list[str], tracks: list[int]
) -> None:
    torch.manual_seed(0)
    UniVS(TINY).save_pretrained(folder / "univs")
    line = ["segment", str(folder / "video"), "--model", str(folder / "univs"), "--task", task]
    line += ["--out", str(folder / "out"), "--device", "cpu", "--short-side", "0", *options]
    assert main([*line, "--no-progress", "--no-overlay", "--report"]) == 0
    assert (folder / "out" / "report.html").read_text("utf-8").startswith("<!doctype html>")
    result = json.loads((folder / "out" / "result.json").read_text())
    assert [track["id"] for track in result["tracks"]] == tracks
    assert (folder / "out" / "semantic").is_dir() == (task in ("vss", "vps"))


class Recorder:
    """Stands in for model and engine, and remembers what they were asked."""

    def __init__(self) -> None:
        self.model: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.frames = 0
        self.saved: tuple[Path, bool, bool] | None = None
        self.reported = False
        self.tracks: tuple[Track, ...] = ()

    def create_model(self, name: str, *, checkpoint: Path) -> str:
        self.model = {"name": name, "checkpoint": checkpoint}
        return "model"

    def segment(self, model: str, source: Any, task: Any, **options: Any) -> VideoSegmentation:
        assert model == "model"
        self.options = {"task": task, **options}
        self.frames = len(list(source))

        def save(
            result: VideoSegmentation, path: Path, *, overlay: bool, report: bool, overwrite: bool
        ) -> None:
            self.saved = (path, overlay, overwrite)
            self.reported = report
            self.tracks = result.tracks

        tracks = [Track(n, "dog", n / 10, {}, (HEIGHT, WIDTH), self.frames) for n in (9, 4)]
        return VideoSegmentation(
            tuple(tracks), self.frames, (HEIGHT, WIDTH), task, source=source, writer=save
        )


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(zoo, "create_model", recorder.create_model)
    monkeypatch.setattr(engine, "segment", recorder.segment)
    return recorder


def test_options_reach_the_engine(folder: Path, recorder: Recorder) -> None:
    more = ["--clip-length", "5", "--overlap", "2", "--short-side", "48", "--max-frames", "2"]
    assert main(words(folder, "vis", *more, "--no-progress", "--no-overlay")) == 0
    assert recorder.model == {"name": MODEL, "checkpoint": Path("w.pth")}
    options = recorder.options
    assert isinstance(options.pop("task"), VIS)
    assert options == {
        "clip_length": 5,
        "overlap": 2,
        "short_side": 48,
        "device": torch.device("cpu"),
        "progress": False,
    }
    assert recorder.frames == 2
    assert recorder.saved == (folder / "out", False, False)
    assert not recorder.reported
    assert main(words(folder, "vis", "--official-compat", "--overwrite", "--report")) == 0
    assert recorder.options["official_compat"] is True
    assert recorder.reported
    assert recorder.saved == (folder / "out", True, True)


def test_defaults_leave_the_choice_to_the_model(folder: Path, recorder: Recorder) -> None:
    assert main(words(folder, "vps")) == 0
    options = recorder.options
    assert (options["clip_length"], options["overlap"], options["short_side"]) == (None,) * 3
    assert options["progress"] is True
    assert "min_score" not in options
    assert recorder.saved == (folder / "out", True, False)


def test_min_score_goes_where_it_belongs(folder: Path, recorder: Recorder) -> None:
    assert main(words(folder, "vps", "--min-score", "0.7")) == 0
    assert recorder.options["min_score"] == 0.7
    assert len(recorder.tracks) == 2
    assert main(words(folder, "vis", "--min-score", "0.7")) == 0
    assert "min_score" not in recorder.options
    assert [track.id for track in recorder.tracks] == [9]


def task_of(folder: Path, *options: str) -> Any:
    return build_task(build_parser().parse_args(words(folder, *options)))


def test_tasks(folder: Path) -> None:
    vis, vps = task_of(folder, "vis"), task_of(folder, "vps")
    assert isinstance(vis, VIS)
    assert vis.resolve().name == "youtube_vis_2021"
    assert isinstance(vps, VPS)
    assert vps.resolve().name == "vipseg"
    own = task_of(folder, "vis", "--vocabulary", "red star, blue disc", "--classes", "blue disc")
    assert own.resolve().classes == ("blue disc",)
    vos = task_of(folder, "vos", "--mask", str(folder / "masks.png"))
    assert isinstance(vos, VOS)
    assert vos.object_ids == (1, 4, 300)
    assert vos.hints[0].values.shape == (3, HEIGHT, WIDTH)
    pet = task_of(folder, "pet", "--point", "1,2", "--point", "3.5,4", "--point=5,6")
    assert isinstance(pet, PET)
    np.testing.assert_array_equal(pet.hints[0].values, [(1, 2), (3.5, 4), (5, 6)])
    evs = task_of(folder, "evs", "--box", "1,2,3,4", "--box", "7:-1,2,3,4.5")
    assert isinstance(evs, EVS)
    assert evs.hints[7].kind == "box"
    np.testing.assert_array_equal(evs.hints[7].values, [(-1, 2, 3, 4.5)])
    assert task_of(folder, "evs", "--point", "1,2").hints[0].kind == "point"
    assert task_of(folder, "evs", "--mask", str(folder / "masks.png")).object_ids == (1, 4, 300)
    assert task_of(folder, "refvos", "--text", "a dog").expressions == ("a dog",)
    assert task_of(folder, "vss", "--vocabulary", "vspw").resolve().name == "vspw"
    one = task_of(folder, "vis", "--vocabulary", "traffic light,")
    assert one.resolve().classes == ("traffic light",)
    assert task_of(folder, "vis", "--vocabulary", "union").vocabulary == "union"


def test_classes_that_are_not_named_are_those_of_the_model(folder: Path, tmp_path: Path) -> None:
    slim = make_system("tarvis").config
    farm_classes = (("farm", ("hen", "cow", "grass"), (0, 1)),)
    TarViS(replace(slim, vocabularies=farm_classes)).save_pretrained(tmp_path / "farm")
    TarViS(replace(slim, vocabularies=("ovis", "synthetic"))).save_pretrained(tmp_path / "two")

    def classes_of(model: str, *options: str) -> tuple[str, ...]:
        given = ["segment", "video", "--model", model, "--task", "vis", "--out", "o", *options]
        return build_task(build_parser().parse_args(given)).resolve().classes  # type: ignore[attr-defined]

    farm = str(tmp_path / "farm")
    assert classes_of(farm) == ("hen", "cow", "grass")
    assert classes_of(farm, "--vocabulary", "farm", "--classes", "cow") == ("cow",)
    assert classes_of(farm, "--vocabulary", "ovis")[0] == "Person"
    named = replace(slim, vocabularies=(("youtube_vis_2021", ("hen", "cow")),))
    TarViS(named).save_pretrained(tmp_path / "named")
    assert classes_of(str(tmp_path / "named")) == ("hen", "cow"), "not those of the public list"
    assert "person" in classes_of("tmt_vis_nano"), "it reads names, and takes any"
    assert "circle" in classes_of("univs_nano", "--vocabulary", "synthetic")
    assert "person" in classes_of("univs_nano")
    with pytest.raises(ValueError, match=r"needs --vocabulary for .*, which knows ovis, synth"):
        classes_of(str(tmp_path / "two"))


def test_a_point_takes_one_word_and_may_be_negative(folder: Path) -> None:
    common = words(folder, "pet")[2:]
    line = ["segment", "--point", "-0.4,-.4", "--point", "-0.25,3", str(folder / "video"), *common]
    args = build_parser().parse_args(line)
    assert args.video == folder / "video"
    np.testing.assert_array_equal(build_task(args).hints[0].values, [(-0.4, -0.4), (-0.25, 3)])  # type: ignore[attr-defined]


def test_later_hints(folder: Path) -> None:
    pet = task_of(folder, "pet", "--point", "7:1,2", "--point", "3,4", "--point", "7:-0.5,6")
    assert {t: hints.values.tolist() for t, hints in pet.hints.items()} == {
        0: [[3, 4]],
        7: [[1, 2], [-0.5, 6]],
    }
    assert pet.object_ids == (1, 2, 3)
    masks = folder / "masks.png"
    other = np.zeros((HEIGHT, WIDTH), np.uint8)
    other[3:9, 3:9] = 4
    other[20:25, 3:9] = 7
    write_label_map(folder / "later.png", other)
    vos = task_of(folder, "vos", "--mask", f"5:{folder / 'later.png'}", "--mask", str(masks))
    assert {t: hints.ids for t, hints in vos.hints.items()} == {0: (1, 4, 300), 5: (4, 7)}
    assert vos.object_ids == (1, 4, 300, 7)
    np.testing.assert_array_equal(vos.hints[5].values[0], other == 4)
    with pytest.raises(ValueError, match="frame 0 has two pictures"):
        task_of(folder, "vos", "--mask", str(masks), "--mask", f"0:{masks}")


def make_file(folder: Path) -> None:
    (folder / "out").write_text("mine")


def make_strangers(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "results.json").write_text("mine")


def empty_video(folder: Path) -> None:
    for path in (folder / "video").iterdir():
        path.unlink()


def black_mask(folder: Path) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(folder / "masks.png")


@pytest.mark.parametrize(
    ("options", "prepare", "message"),
    [
        (["vos"], None, "needs --mask"),
        (["pet"], None, "needs --point"),
        (["vis", "--mask", "masks.png"], None, "does not take --mask"),
        (["vos", "--mask", "masks.png", "--classes", "dog"], None, "does not take --classes"),
        (["vos", "--mask", "none.png"], None, "none.png"),
        (["vos", "--mask", "masks.png"], black_mask, "empty"),
        (["vis", "--vocabulary", "youtube_vis_2012"], None, "youtube_vis_2021"),
        (["vis", "--classes", "dgo"], None, "dog"),
        (["vis", "--device", "gpu"], None, "--device gpu"),
        (["vis", "--max-frames", "0"], None, "max_frames"),
        (["vis"], make_file, "file"),
        (["vis"], make_strangers, "no earlier result"),
        (["vis", "--overwrite"], make_strangers, "no earlier result"),
        (["vis", "--vocabulary", "dog"], None, "a list of one class is 'dog,'"),
        (["vis", "--model", "tarvis_resnet5"], None, "tarvis_resnet50"),
        (["vis", "--model", "video"], None, "--model video is a folder, which holds its own"),
        (["vis"], empty_video, "no image"),
    ],
)
def test_errors_of_use_come_before_the_work(
    folder: Path,
    options: list[str],
    prepare: Callable[[Path], None] | None,
    message: str,
    recorder: Recorder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    if prepare is not None:
        prepare(folder)
    before = sorted(folder.rglob("*"))
    assert main(words(folder, *options)) == 2
    error = capsys.readouterr().err
    assert error.startswith("segblocks: ")
    assert error.count("\n") == 1
    assert message in error
    assert recorder.model == {}
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["pet", "--point", "64,5"], "inside the 64x33 frame"),
        (["vos", "--mask", "small.png"], "VOS: mask"),
        (["vis", "--clip-length", "0"], "clip_length"),
        (["vis", "--clip-length", "2", "--overlap", "2"], "overlap"),
    ],
)
def test_what_only_the_engine_can_know(
    folder: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    Image.fromarray(np.ones((8, 8), np.uint8)).save(folder / "small.png")
    model: Any = zoo.create_model(MODEL)
    monkeypatch.setattr(zoo, "create_model", lambda *_, **__: model)
    assert main(words(folder, *options, "--no-progress")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert message in error
    assert not (folder / "out").exists()


def test_a_truncated_video_leaves_nothing(
    tmp_path: Path, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    av = pytest.importorskip("av")
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    path = tmp_path / "video"
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.gop_size = 4
        for pixels in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    assert main(words(tmp_path, "vis", "--no-progress")) == 2
    assert str(path) in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["video"]


@pytest.mark.parametrize("point", ["5", "a,b", "1,2,3", "nan,1", "x:1,2", "-1:2,3", "3:4"])
def test_points_that_are_none(folder: Path, point: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words(folder, "pet", "--point", point))
    assert point in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--min-score", "1.5"),
        ("--min-score", "-0.1"),
        ("--min-score", "nan"),
        ("--min-score", "high"),
        ("--out", ""),
        ("--checkpoint", ""),
        ("--mask", ""),
        ("--clip-length", "2.5"),
    ],
)
def test_values_that_are_none(
    folder: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words(folder, "vis", option, value))
    error = capsys.readouterr().err
    assert f"argument {option}: expected" in error
    assert error.count("\n") == 1


def test_a_saved_folder_is_a_model(
    folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: Any = zoo.create_model(MODEL, checkpoint=checkpoint)
    saved.save_pretrained(folder / "saved")
    common = ["--point", "13,10", "--short-side", "0", "--no-overlay", "--no-progress"]
    named = words(folder, "pet", *common, checkpoint=folder / "saved")
    assert main(named) == 0
    alone = words(folder, "pet", *common)
    alone[alone.index(MODEL)] = str(folder / "saved")
    at = alone.index("--checkpoint")
    del alone[at : at + 2]
    assert main([*alone, "--out", str(folder / "again")]) == 0
    first, second = ((folder / out / "burst.json").read_bytes() for out in ("out", "again"))
    assert first == second
    capsys.readouterr()
    named[named.index(MODEL)] = "tarvis_swin_tiny"
    assert main([*named, "--out", str(folder / "other")]) == 2
    error = capsys.readouterr().err
    assert "holds a TarViS of another backbone, not tarvis_swin_tiny" in error
    named[named.index("tarvis_swin_tiny")] = MODEL
    at = named.index("--checkpoint")
    del named[at : at + 2]
    assert main([*named, "--out", str(folder / "other")]) == 2
    assert "needs --checkpoint" in capsys.readouterr().err


def test_the_same_folder_twice(
    folder: Path, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    start = '{"format": "segblocks.result", "version": 1, "task": {"name": "vis"}}'
    (folder / "out" / "result.json").write_text(start)
    assert main(words(folder, "vis")) == 2
    assert "overwrite" in capsys.readouterr().err
    assert main(words(folder, "vps", "--overwrite")) == 2
    assert "result of vis, this is of vps" in capsys.readouterr().err
    assert recorder.model == {}
    assert main(words(folder, "vis", "--overwrite")) == 0


def test_missing_pyav_is_told_before_the_work(
    folder: Path,
    recorder: Recorder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(words(folder, "vis")) == 2
    assert "pip install 'segblocks[video]'" in capsys.readouterr().err
    assert recorder.model == {}
    assert main(words(folder, "vis", "--no-overlay")) == 0
