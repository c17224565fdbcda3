"""Official checkpoints in, official checkpoints out; the trained weights or their average."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from segblocks.zoo import CheckpointError, convert_state_dict, create_model, export_state_dict
from segblocks.zoo.univs import UniVS, UniVSConfig
from segblocks.zoo.univs.convert import key_map
from tests import parity

PREDICTOR = "sem_seg_head.predictor."


def made(backbone: str = "resnet50") -> dict[str, Tensor]:
    """Official entries of a small model, by our own table."""
    config = UniVSConfig(backbone=backbone, neck_layers=1, decoder_layers=2)
    shapes = official_shapes(config)
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@functools.cache
def official_shapes(config: UniVSConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        state = UniVS(config).state_dict()
    return {name: value.shape for name, value in key_map(config).source_shapes(state).items()}


def with_teacher(student: dict[str, Tensor]) -> dict[str, Tensor]:
    """The student and, as in files of the last stage, an average without buffers."""
    both = dict(student)
    for name, value in student.items():
        part, rest = name.split(".", 1)
        if not (part == "backbone" and ".norm." in name):
            both[f"{part}_t.{rest}"] = value + 1
    return both


@pytest.mark.parity
def test_export_is_the_inverse_of_convert() -> None:
    torch.manual_seed(0)
    source = {
        name: torch.randn(shape) for name, shape, _ in parity.read("univs_resnet50_state_dict")
    }
    converted = convert_state_dict(source, "univs")
    back = export_state_dict(converted, "univs")
    assert back.keys() == source.keys()
    assert all(torch.equal(back[name], source[name]) for name in back)
    with torch.device("meta"):
        model = create_model("univs_resnet50")
    assert converted.keys() == model.state_dict().keys()


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny", "swin_base"])
def test_round_trip_of_every_backbone(backbone: str) -> None:
    source = made(backbone)
    source["backbone.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(1)
    if backbone == "resnet50":
        del source["backbone.layers.0.blocks.0.attn.relative_position_index"]
    back = export_state_dict(convert_state_dict(source, "univs"), "univs")
    assert back.keys() == {n for n in source if not n.endswith("relative_position_index")}
    assert all(torch.equal(back[name], source[name]) for name in back)


def test_files_with_an_average_hold_two_models() -> None:
    student = made()
    both = with_teacher(student)
    trained = convert_state_dict(both, "univs")
    average = convert_state_dict(both, "univs", weights="ema")
    assert all(torch.equal(v, trained[n]) for n, v in convert_state_dict(student, "univs").items())
    back = export_state_dict(average, "univs")
    for name, value in student.items():
        is_buffer = name.startswith("backbone.") and ".norm." in name
        assert torch.equal(back[name], value if is_buffer else value + 1), name


def test_an_average_that_is_not_there_is_refused() -> None:
    with pytest.raises(CheckpointError, match="weights='ema' asks for averaged weights"):
        convert_state_dict(made(), "univs", weights="ema")


def test_old_and_unread_entries() -> None:
    source = made()
    old = dict(source)
    old[f"{PREDICTOR}static_query.weight"] = old.pop(f"{PREDICTOR}query_feat.weight")
    old["criterion.empty_weight"] = torch.ones(3)
    old[f"{PREDICTOR}class_embed.weight"] = torch.ones(3)
    want = convert_state_dict(source, "univs")
    got = convert_state_dict(old, "univs")
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_files_without_language_attention() -> None:
    source = {n: v for n, v in made().items() if "lang2vision" not in n}
    converted = convert_state_dict(source, "univs")
    config = UniVSConfig(neck_layers=1, decoder_layers=2, language_to_image=False)
    with torch.device("meta"):
        assert converted.keys() == UniVS(config).state_dict().keys()


def test_wrong_entries_are_listed() -> None:
    source = made()
    del source[f"{PREDICTOR}prompt_grounding.weight"]
    source["sem_seg_head.stranger"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="1 missing, 1 unexpected"):
        convert_state_dict(source, "univs")
    with pytest.raises(CheckpointError, match="not an official UniVS checkpoint"):
        convert_state_dict({"a": torch.zeros(1)}, "univs")
