from __future__ import annotations

import pytest
import torch

from segblocks.nn.backbone import TimmBackbone
from segblocks.zoo.backbone_keys import resnet50_rules, swin_rules
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_map import KeyMap, meta_state_dict
from tests import parity

NETWORKS = {
    "tarvis_resnet50": ("resnet50", resnet50_rules, {"frozen_batch_norm": True}),
    "tarvis_swin_tiny": ("swin_tiny", swin_rules, {"output_norms": True}),
}


def expected_source(network: str) -> dict[str, torch.Size]:
    name, rules, options = NETWORKS[network]
    shapes = meta_state_dict(lambda: TimmBackbone(name, **options))
    source = KeyMap(rules("net.", "")).source_shapes(shapes)
    return {key: value.shape for key, value in source.items()}


def test_resnet50_becomes_detectron2s() -> None:
    source = expected_source("tarvis_resnet50")
    assert len(source) == 265
    assert source["net.stem.conv1.weight"] == (64, 3, 7, 7)
    assert source["net.stem.conv1.norm.running_var"] == (64,)
    assert source["net.res2.0.shortcut.weight"] == (256, 64, 1, 1)
    assert source["net.res4.5.conv2.norm.bias"] == (256,)
    assert source["net.res5.2.conv3.weight"] == (2048, 512, 1, 1)


def test_swin_becomes_the_official_one() -> None:
    source = expected_source("tarvis_swin_tiny")
    assert len(source) == 189 - 12  # less a constant of each block
    assert source["net.patch_embed.proj.weight"] == (96, 3, 4, 4)
    assert source["net.layers.0.downsample.reduction.weight"] == (192, 384)
    assert source["net.layers.2.downsample.norm.bias"] == (1536,)
    assert source["net.layers.2.blocks.5.attn.relative_position_bias_table"] == (169, 12)
    assert source["net.norm3.weight"] == (768,)
    assert "net.layers.3.downsample.norm.bias" not in source


def test_one_network_is_not_taken_for_the_other() -> None:
    resnet = {
        k: torch.empty(v, device="meta") for k, v in expected_source("tarvis_resnet50").items()
    }
    shapes = meta_state_dict(lambda: TimmBackbone("swin_tiny", output_norms=True))
    with pytest.raises(CheckpointError, match="177 missing, 265 unexpected"):
        KeyMap(swin_rules("net.", "")).convert(resnet, shapes)


@pytest.mark.parity
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("variant", ["", "-mixed"])
def test_converted_backbones_reproduce_the_official_levels(network: str, variant: str) -> None:
    name, rules, options = NETWORKS[network]
    case = parity.case(network, f"{name}-t3-128x192-s1-features{variant}")
    state = {
        key: value
        for key, value in parity.case_state_dict(network, case).items()
        if key.startswith("backbone.backbone.")
    }
    backbone = TimmBackbone(name, **options).eval()
    key_map = KeyMap(rules("backbone.backbone.", ""))
    converted = key_map.convert(state, backbone.state_dict())
    backbone.load_state_dict(converted)
    with torch.no_grad():
        pyramid = backbone(parity.normalised_clip(network, case))
    for stride, level in pyramid.items():
        golden = case["stages"][f"backbone/{stride}"]
        error = parity.compare(f"backbone/{stride}", level[0], golden)
        assert error <= parity.tolerance(golden), (stride, error)
    exported = key_map.export(backbone.state_dict())
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[key], state[key]) for key in state)
