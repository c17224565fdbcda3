"""The weights that come with the package: complete, small enough, and in what is published."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from segblocks.zoo import create_model, list_models
from segblocks.zoo.checkpoint import load_checkpoint
from segblocks.zoo.hub import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from segblocks.zoo.registry import SHIPPED_WEIGHTS, get_entry

REPOSITORY = Path(__file__).parents[2]
MIB = 2**20
LARGEST_FILE, LARGEST_WHEEL = 11 * MIB, 60 * MIB
SHIPPED = sorted(path.name for path in SHIPPED_WEIGHTS.glob("*"))
WITH_WEIGHTS = [name for name in list_models() if get_entry(name).default_checkpoint]


def test_folders_and_names_go_together() -> None:
    places = [get_entry(name).default_checkpoint for name in WITH_WEIGHTS]
    assert [SHIPPED_WEIGHTS / name for name in SHIPPED] == places


@pytest.mark.parametrize("name", SHIPPED)
def test_a_folder_is_complete_and_small(name: str) -> None:
    folder = SHIPPED_WEIGHTS / name
    assert {CARD_FILE, CONFIG_FILE, WEIGHTS_FILE} <= {path.name for path in folder.iterdir()}
    assert all(path.stat().st_size <= LARGEST_FILE for path in folder.iterdir())
    state = load_checkpoint(folder / WEIGHTS_FILE)
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_model_of_a_name_is_that_of_its_folder(name: str) -> None:
    model = create_model(name)
    assert model.config == get_entry(name).config
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training


def test_wheel_and_sdist_hold_all_weights_and_stay_small(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"])
    (sdist,) = SdistBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"])
    assert Path(wheel).stat().st_size <= LARGEST_WHEEL
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert "segblocks/py.typed" in sizes
    for name in SHIPPED:
        for path in (SHIPPED_WEIGHTS / name).iterdir():
            place = path.relative_to(REPOSITORY).as_posix()
            assert sizes[place] == path.stat().st_size
            assert place in packed
