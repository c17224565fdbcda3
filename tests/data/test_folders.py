"""Folders of frames: what lies in them besides, how frames are stored, and what they are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.data.files import FrameFiles, picture_size
from segblocks.data.registry import open_dataset
from tests.data.made import made_video
from tests.data.made_panoptic import STREET, made_street

CLASSES = {"vocabulary": STREET}
#: Dataset -> module and options of its writer and reader.
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ade20k": ("ade20k", CLASSES),
    "cityscapes": ("cityscapes", CLASSES),
    "davis2017": ("davis", {}),
    "kitti_step": ("kitti_step", CLASSES),
    "mose": ("mose", {}),
    "ref_youtube_vos": ("referring", {}),
    "viposeg": ("viposeg", {}),
    "vspw": ("vspw", CLASSES),
    "youtube_vos_2019": ("youtube_vos", {}),
}


def writer(layout: str) -> Callable[..., None]:
    module = LAYOUTS[layout][0]
    return getattr(import_module(f"segblocks.data.{module}"), f"write_{module}")


def made(layout: str) -> Any:
    return made_street("walk") if LAYOUTS[layout][1] else made_video("walk", (1, 2))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stray_files(layout: str, tmp_path: Path) -> None:
    writer(layout)([made(layout)], tmp_path)
    before = open_dataset(layout, tmp_path, **LAYOUTS[layout][1])
    for folder in {path.parent for path in tmp_path.rglob("*.*g")}:
        for name in ("Thumbs.db", ".DS_Store", "notes.txt"):
            (folder / name).write_text("no picture")
    after = open_dataset(layout, tmp_path, **LAYOUTS[layout][1])
    assert after.names == before.names
    assert [s.frame_names for s in map(after.__getitem__, range(len(after)))] == [
        s.frame_names for s in map(before.__getitem__, range(len(before)))
    ]
    np.testing.assert_array_equal(after[0].read_frame(0), before[0].read_frame(0))


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "a\\b"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_that_are_no_folders(layout: str, name: str, tmp_path: Path) -> None:
    sample = replace(made(layout), name=name)
    if LAYOUTS[layout][0] in ("ade20k", "cityscapes"):
        sample = replace(sample, num_frames=1, annotated=(0,))
    with pytest.raises(ValueError, match="must not be empty, begin with a dot or hold a slash"):
        writer(layout)([sample], tmp_path)
    assert not list(tmp_path.rglob("*.*g"))


@pytest.mark.parametrize("layout", ["burst", "coco", "mapillary", "vipseg", "youtube_vis"])
def test_names_with_a_slash_where_a_file_lists_them(layout: str, tmp_path: Path) -> None:
    write = getattr(import_module(f"segblocks.data.{layout}"), f"write_{layout}")
    sample = made_street("a/b", num_frames=1)
    write([sample], tmp_path)
    dataset = {"coco": "coco_panoptic", "youtube_vis": "youtube_vis_2021"}.get(layout, layout)
    read = open_dataset(dataset, tmp_path, **({} if layout == "burst" else {"vocabulary": None}))
    assert read.names == ("a/b",)
    np.testing.assert_array_equal(read[0].read_truth(0).masks, sample.read_truth(0).masks)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_frames_are_as_stored(orientation: int, tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=exif)
    size = picture_size(tmp_path / "0.png")
    assert size == (4, 6)
    frames = FrameFiles((tmp_path / "0.png",), size)
    np.testing.assert_array_equal(frames(0), pixels)
