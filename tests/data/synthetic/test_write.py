from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.data.synthetic import SyntheticWorld, list_layouts, world_config, write_world


@pytest.mark.parametrize("layout", list_layouts())
def test_a_world_writes_itself_in_every_layout(layout: str, tmp_path: Path) -> None:
    world = SyntheticWorld(world_config("tiny"), length=2)
    write_world(world, layout, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 4
    assert not [path for path in files if not path.stat().st_size]


def test_davis_holds_the_masks(tmp_path: Path) -> None:
    world = SyntheticWorld(world_config("tiny"))
    write_world(world, "davis", tmp_path, count=1, start=4)
    sample = world[4]
    for t in sample.annotated:
        path = tmp_path / "Annotations" / "480p" / sample.name / f"{sample.frame_names[t]}.png"
        truth = sample.read_truth(t)
        ids = np.array(truth.ids)[:, None, None]
        np.testing.assert_array_equal(np.array(Image.open(path)), (truth.masks * ids).sum(0))


def test_wrong_layouts_and_missing_counts_are_named(tmp_path: Path) -> None:
    world = SyntheticWorld(world_config("tiny"))
    with pytest.raises(ValueError, match="did you mean 'davis'"):
        write_world(world, "daviz", tmp_path, count=1)
    with pytest.raises(ValueError, match="needs count"):
        write_world(world, "davis", tmp_path)
