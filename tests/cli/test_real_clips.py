"""`segblocks segment` on real clips: every task, and every file that it should leave."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.cli import main
from segblocks.inference.writers import read_result
from segblocks.zoo import create_model
from segblocks.zoo.checkpoint import save_safetensors
from segblocks.zoo.rule_weights import fill_by_rule

pytestmark = pytest.mark.data

FRAMES = 5
CLIPS = ("bmx-trees", "car-shadow", "tennis")


@pytest.fixture(scope="module")
def clips() -> Path:
    folder = os.environ.get("SEGBLOCKS_DATA")
    if not folder:
        pytest.skip("SEGBLOCKS_DATA does not name the folder of real clips")
    return Path(folder) / "clips"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = create_model("tarvis_resnet50")
    fill_by_rule(model)
    path = tmp_path_factory.mktemp("weights") / "tarvis.safetensors"
    save_safetensors(model.state_dict(), path, {})
    return path


def first_mask(clips: Path, clip: str) -> Path:
    return clips / "Annotations/480p" / clip / "00000.png"


def options_of(task: str, clips: Path, clip: str) -> list[str]:
    if task == "vos":
        return ["--mask", str(first_mask(clips, clip))]
    if task == "pet":
        ys, xs = np.nonzero(np.array(Image.open(first_mask(clips, clip))))
        return ["--point", f"{xs[len(xs) // 2]},{ys[len(ys) // 2]}"]
    return []


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("task", ["vis", "vps", "vos", "pet"])
def test_every_task_on_every_clip(
    task: str, clip: str, clips: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    video = clips / "JPEGImages/480p" / clip
    words = ["segment", str(video), "--model", "tarvis_resnet50", "--checkpoint", str(checkpoint)]
    words += ["--task", task, "--out", str(out), "--short-side", "64", "--clip-length", "3"]
    words += ["--overlap", "1", "--max-frames", str(FRAMES), "--device", "cpu", "--no-progress"]
    assert main([*words, *options_of(task, clips, clip)]) == 0

    with Image.open(video / "00000.jpg") as first:
        width, height = first.size
    result = read_result(out)
    assert (result.num_frames, result.size) == (FRAMES, (height, width))
    assert (out / "overlay.mp4").stat().st_size > 1000
    pictures = sorted((out / "masks").iterdir())
    assert [p.name for p in pictures] == [f"{t:05d}.png" for t in range(FRAMES)]
    for t, picture in enumerate(pictures):
        ids = np.array(Image.open(picture))
        assert ids.shape[:2] == (height, width)
        if task in ("vos", "pet"):
            assert set(np.unique(ids)) <= {0, 1}
            assert np.array_equal(ids == 1, result.tracks[0].mask(t))
    if task in ("vos", "pet"):
        assert [track.id for track in result.tracks] == [1]
    if task == "vis":
        records = json.loads((out / "results.json").read_text())
        assert all(len(r["segmentations"]) == FRAMES for r in records)
        assert all(1 <= r["category_id"] <= 40 for r in records)
    if task == "vps":
        assert all(result.semantic(t).shape == (height, width) for t in range(FRAMES))
        assert (out / "pred.json").exists()
