"""Whatever is wrong with a picture, the error is no surprise and names the file."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.data.registry import open_dataset
from segblocks.data.synthetic import SyntheticWorld, world_config, write_world
from tests.data.made_panoptic import STREET, made_street

WORLD = SyntheticWorld(world_config("tiny", num_frames=2, expressions=1), seed=2, length=1)
OF_THE_WORLD = (
    *("burst", "cityscapes_vps", "coco_instances", "coco_panoptic", "davis2017", "mapillary"),
    *("mose", "ref_youtube_vos", "viposeg", "vipseg", "youtube_vis_2021", "youtube_vos_2019"),
)
OF_STREETS = ("ade20k", "cityscapes", "kitti_step", "vspw")


def encoded(image: Image.Image, like: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format="JPEG" if like == ".jpg" else "PNG")
    return file.getvalue()


def larger(content: bytes, suffix: str) -> bytes:
    image = Image.open(io.BytesIO(content))
    return encoded(image.resize((image.width + 3, image.height)), suffix)


def in_another_mode(content: bytes, suffix: str) -> bytes:
    image = Image.open(io.BytesIO(content))
    return encoded(image.convert("L" if image.mode == "RGB" else "RGB"), suffix)


def deep(content: bytes, suffix: str) -> bytes:
    image = Image.open(io.BytesIO(content))
    values = np.full((image.height, image.width), 60_000, np.uint16)
    return encoded(Image.fromarray(values), ".png")


def noisy(content: bytes, suffix: str) -> bytes:
    changed, rng = bytearray(content), random.Random(len(content))
    for _ in range(9):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


DAMAGE: dict[str, Callable[[bytes, str], bytes]] = {
    "empty": lambda content, suffix: b"",
    "cut": lambda content, suffix: content[: len(content) * 2 // 3],
    "text": lambda content, suffix: b"<html>not found</html>",
    "noisy": noisy,
    "larger": larger,
    "mode": in_another_mode,
    "deep": deep,
}
ALWAYS_REFUSED = ("empty", "cut", "text", "larger")


def write(layout: str, root: Path) -> dict[str, Any]:
    """Write a dataset; returns the options to open it with."""
    if layout in OF_THE_WORLD:
        write_world(WORLD, layout, root)
        return {"vocabulary": None} if layout == "youtube_vis_2021" else {}
    writer = getattr(import_module(f"segblocks.data.{layout}"), f"write_{layout}")
    writer([made_street("walk", num_frames=2)], root)
    return {"vocabulary": STREET}


def find_error(layout: str, root: Path, options: dict[str, Any]) -> Exception | None:
    try:
        for sample in open_dataset(layout, root, **options):
            for t in range(sample.num_frames):
                sample.read_frame(t)
            for t in sample.annotated:
                sample.read_truth(t)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("layout", [*OF_THE_WORLD, *OF_STREETS])
def test_every_kind_of_picture(layout: str, tmp_path: Path) -> None:
    options = write(layout, tmp_path)
    assert find_error(layout, tmp_path, options) is None
    found = sorted(p for p in tmp_path.rglob("*") if p.suffix in (".png", ".jpg"))
    pictures = {(path.parent, path.suffix): path for path in reversed(found)}.values()
    for path in pictures:
        content = path.read_bytes()
        for name, damage in DAMAGE.items():
            path.write_bytes(damage(content, path.suffix))
            error = find_error(layout, tmp_path, options)
            what = f"{path}, {name}: {error!r}"
            if error is None:
                assert name not in ALWAYS_REFUSED, what
            else:
                assert isinstance(error, ValueError | FileNotFoundError), what
                assert str(tmp_path) in str(error), what
        path.write_bytes(content)
    assert find_error(layout, tmp_path, options) is None
