"""Whatever is wrong in a JSON file, the error is no surprise and names the file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segblocks.data.registry import open_dataset
from segblocks.data.sample import Expression, VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config, write_world

WORLD = SyntheticWorld(world_config("tiny", num_frames=3, expressions=2), seed=2, length=2)
VALUES = ("x", None, [1], {"a": 5}, -7, 2.5, True)
OWN = {"vocabulary": None}
#: Layout -> options of the reader.
LAYOUTS: dict[str, dict[str, Any]] = {
    "burst": {},
    "cityscapes_vps": {},
    "coco_instances": {},
    "coco_panoptic": {},
    "mapillary": {},
    "ref_youtube_vos": {},
    "viposeg": {},
    "vipseg": {},
    "youtube_vis_2021": OWN,
    "youtube_vos_2019": {},
}
Place = tuple[str | int, ...]


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    """All fields, and of each list and map by id the first."""
    if path:
        yield path
    if not isinstance(value, dict | list):
        return
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    keyed = isinstance(value, dict) and any(str(key)[:1].isdigit() for key in value)
    for key, item in items[:1] if isinstance(value, list) or keyed else items:
        yield from places(item, (*path, key))


def mutated(content: Any, path: Place, value: Any) -> Any:
    changed = copy.deepcopy(content)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    if value is Ellipsis:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed


def read_all(layout: str, root: Path) -> list[VideoSample]:
    """Read what the JSON files decide."""
    dataset = open_dataset(layout, root, **LAYOUTS[layout])
    samples = list(dataset)
    for sample in samples:
        sample.read_frame(0)
        for t in sample.annotated:
            sample.read_truth(t)
        assert all(isinstance(e, Expression) for e in sample.expressions)
    return samples


def find_error(layout: str, root: Path) -> Exception | None:
    try:
        read_all(layout, root)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_field_of_every_file(layout: str, tmp_path: Path) -> None:
    write_world(WORLD, layout, tmp_path)
    root = tmp_path
    files = sorted(root.rglob("*.json"))
    refused = 0
    for file in files:
        text = file.read_text()
        content = json.loads(text)
        for path in places(content):
            for value in (*VALUES, ...):
                file.write_text(json.dumps(mutated(content, path, value)))
                if (error := find_error(layout, root)) is None:
                    continue
                refused += 1
                what = f"{file.name}, {path}={value}: {error!r}"
                assert isinstance(error, ValueError | FileNotFoundError), what
                assert str(root) in str(error), what
                if isinstance(error, ValueError) and ".png" not in str(error):
                    assert file.name in str(error), what
        for whole in ("", "[]", "3", "null", text[: len(text) // 2], "{}"):
            file.write_text(whole)
            if layout == "viposeg" and (whole == "{}" or file.name == "meta.json"):
                continue
            if file.name == "meta.json" and layout == "ref_youtube_vos" and whole == "{}":
                continue
            with pytest.raises(ValueError, match=file.name):
                read_all(layout, root)
        file.write_text(text)
    assert refused > 10 * len(files)
    assert len(read_all(layout, root)) > 0
