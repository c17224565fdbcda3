"""Official checkpoints in, official checkpoints out, and nothing in between lost or made up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segblocks.zoo import CheckpointError, convert_state_dict, create_model, export_state_dict
from segblocks.zoo.tarvis import PRETRAIN_VOCABULARIES, TarViS, TarViSConfig
from tests import parity

NETWORKS = ("resnet50", "swin_tiny")
CONSTANT = ("bg_grid_size", "relative_position_index")


def official(network: str) -> dict[str, Tensor]:
    """The official entries with distinct values, small ones for speed."""
    torch.manual_seed(0)
    dtypes = {"float32": torch.float32, "int64": torch.int64}
    return {
        name: torch.randn(shape).to(dtypes[dtype])
        for name, shape, dtype in parity.read(f"tarvis_{network}_state_dict")
    }


@pytest.mark.parity
@pytest.mark.parametrize("network", NETWORKS)
def test_export_is_the_inverse_of_convert(network: str) -> None:
    source = official(network)
    converted = convert_state_dict(source, "tarvis")
    back = export_state_dict(converted, "tarvis")
    assert back.keys() == {name for name in source if not name.endswith(CONSTANT)}
    assert all(torch.equal(back[name], source[name]) for name in back)
    with torch.device("meta"):
        model = TarViS(TarViSConfig(backbone=network))
    assert converted.keys() == model.state_dict().keys()


@pytest.mark.parity
@pytest.mark.parametrize("network", NETWORKS)
def test_every_official_number_has_its_place(network: str) -> None:
    meta = parity.golden(f"tarvis_{network}")["meta"]
    converted = convert_state_dict(official(network), "tarvis")
    frozen = {"resnet50": ("running_mean", "running_var", "pixel_mean", "pixel_std")}
    skipped = (*frozen.get(network, ()), "pixel_mean", "pixel_std")
    count = sum(
        value.numel()
        for name, value in converted.items()
        if not name.endswith(skipped) and not _in_frozen_norm(name)
    )
    assert count == meta["parameters"][network]


def _in_frozen_norm(name: str) -> bool:
    return name.startswith("backbone.net.") and (".bn" in name or ".downsample.1." in name)


@pytest.mark.parity
def test_pretrain_checkpoints_differ_in_their_classes_only() -> None:
    source = official("resnet50")
    source["embedding_container._semantic_queries"] = torch.randn(383, 256)
    converted = convert_state_dict(source, "tarvis")
    assert converted["queries.semantic"].shape == (382, 256)
    with torch.device("meta"):
        model = TarViS(TarViSConfig(vocabularies=PRETRAIN_VOCABULARIES))
    assert model.queries.semantic.shape == (382, 256)


@pytest.mark.parity
def test_differences_are_errors_with_a_table() -> None:
    source = official("resnet50")
    lost = source.pop("decoder.scale_embed.weight")
    source["decoder.extra.weight"] = lost
    source["backbone.fpn.transformer.level_embed"] = torch.zeros(4, 256)
    with pytest.raises(CheckpointError) as caught:
        convert_state_dict(source, "tarvis")
    text = str(caught.value)
    assert "1 missing, 1 unexpected, 1 misshapen" in text
    assert "decoder.scale_embed.weight (3, 256)" in text
    assert "decoder.extra.weight" in text
    assert "level_embed: expected (3, 256) float32, got (4, 256)" in text


@pytest.mark.parity
def test_a_file_of_another_backbone_is_refused(tmp_path: object) -> None:
    path = f"{tmp_path}/swin.pth"
    torch.save({"model": official("swin_tiny")}, path)
    with pytest.raises(CheckpointError, match="is not for tarvis_resnet50"):
        create_model("tarvis_resnet50", checkpoint=path)


def test_other_networks_are_told_apart() -> None:
    with pytest.raises(CheckpointError, match="not an official TarViS checkpoint"):
        convert_state_dict({"conv.weight": torch.zeros(1)}, "tarvis")
    rows = {"embedding_container._semantic_queries": torch.zeros(100, 256)}
    with pytest.raises(CheckpointError, match=r"must have 228 or 383 rows.*got 100"):
        convert_state_dict(rows, "tarvis")
    rows = {"embedding_container._semantic_queries": torch.zeros(228, 256)}
    with pytest.raises(CheckpointError, match=r"ResNet-50 or a Swin .* got neither"):
        convert_state_dict(rows, "tarvis")
    with pytest.raises(ValueError, match="weights must be 'student'"):
        convert_state_dict(rows, "tarvis", weights="ema")
