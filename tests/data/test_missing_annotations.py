"""A PNG that is gone is an error, not another score."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segblocks.data.davis import write_davis
from segblocks.data.kitti_step import write_kitti_step
from segblocks.data.mose import write_mose
from segblocks.data.referring import write_referring
from segblocks.data.registry import open_dataset
from segblocks.data.viposeg import write_viposeg
from segblocks.data.vspw import write_vspw
from segblocks.data.youtube_vos import write_youtube_vos
from segblocks.text.vocabulary import get_vocabulary
from tests.data.made import made_video
from tests.data.made_panoptic import STREET, made_street

MADE = made_video("walk", (1, 2, 3), late={3: 2}, vocabulary=get_vocabulary("vipseg"))
STREETS = made_street("walk", num_frames=4)
CLASSES = {"vocabulary": STREET}
#: Layout -> writer, what it writes, options of the reader, folder of the PNGs.
LAYOUTS: dict[str, tuple[Callable[..., None], Any, dict[str, Any], str]] = {
    "davis2016": (write_davis, MADE, {}, "Annotations/480p/walk"),
    "davis2017": (write_davis, MADE, {}, "Annotations/480p/walk"),
    "mose": (write_mose, MADE, {}, "valid/Annotations/walk"),
    "youtube_vos_2019": (write_youtube_vos, MADE, {}, "valid/Annotations/walk"),
    "viposeg": (write_viposeg, MADE, {}, "valid/Annotations_gt/walk"),
    "ref_youtube_vos": (write_referring, MADE, {}, "valid/Annotations/walk"),
    "kitti_step": (write_kitti_step, STREETS, CLASSES, "panoptic_maps/val/walk"),
    "vspw": (write_vspw, STREETS, CLASSES, "data/walk/mask"),
}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_missing_png(layout: str, tmp_path: Path) -> None:
    write, made, options, folder = LAYOUTS[layout]
    write([made], tmp_path, **({"year": 2016} if layout == "davis2016" else {}))
    assert open_dataset(layout, tmp_path, **options)[0].annotated == (0, 1, 2, 3)
    gone = sorted((tmp_path / folder).iterdir())[1]
    gone.unlink()
    # That it is gone is only found when the video is read.
    dataset = open_dataset(layout, tmp_path, **options)
    message = rf"{folder}/{gone.name}: no such annotation, the first of 1 that are missing of 4"
    with pytest.raises(FileNotFoundError, match=message):
        dataset[0]
    dataset = open_dataset(layout, tmp_path, allow_missing=True, **options)
    assert dataset[0].annotated == (0, 2, 3)
    # Test sets have none at all.
    shutil.rmtree(gone.parent)
    if layout not in ("kitti_step", "viposeg"):
        assert open_dataset(layout, tmp_path, **options)[0].annotated == ()


def test_an_object_that_is_judged_but_not_given(tmp_path: Path) -> None:
    write_viposeg([MADE], tmp_path)
    (tmp_path / "valid/Annotations/walk/00010.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"walk/00010\.png: no PNG gives object 3"):
        open_dataset("viposeg", tmp_path)[0]
    sample = open_dataset("viposeg", tmp_path, allow_missing=True)[0]
    assert sample.hint_frames == {1: 0, 2: 0}
    shutil.rmtree(tmp_path / "valid/Annotations/walk")
    with pytest.raises(FileNotFoundError, match=r"walk/00000\.png: no PNG gives object 1"):
        open_dataset("viposeg", tmp_path)[0]
    # Without truth nothing is judged, and what the classes list need not be given.
    shutil.rmtree(tmp_path / "valid/Annotations_gt")
    assert open_dataset("viposeg", tmp_path)[0].annotated == ()


def test_sentences_need_no_hints(tmp_path: Path) -> None:
    write_referring([MADE], tmp_path)
    folder = tmp_path / "valid/Annotations/walk"
    for name in ("00005", "00015"):
        (folder / f"{name}.png").unlink()
    assert open_dataset("ref_youtube_vos", tmp_path)[0].annotated == ()
