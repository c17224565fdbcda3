"""Image models of Hugging Face become ours, and compute the same for a single frame."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.tasks import VIS
from segblocks.zoo import CheckpointError, convert_state_dict, create_model, export_state_dict
from segblocks.zoo.checkpoint import load_checkpoint
from segblocks.zoo.mask2former_vis import Mask2FormerVIS, start_from
from segblocks.zoo.rule_weights import fill_by_rule

transformers = pytest.importorskip("transformers")

CLASSES = ("cat", "dog", "chair", "lamp", "sky")
SLIM: dict[str, Any] = {
    "num_queries": 10,
    "embed_dim": 64,
    "neck_layers": 2,
    "neck_hidden_dim": 48,
    "decoder_layers": 3,
    "decoder_hidden_dim": 80,
}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@functools.cache
def hugging_face(backbone: str) -> Any:
    swin = {
        "embed_dim": 96,
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
        "window_size": 7,
    }
    config = transformers.Mask2FormerConfig(
        backbone_config=(
            transformers.SwinConfig(**swin, out_features=STAGES)
            if backbone == "swin_tiny"
            else transformers.ResNetConfig(out_features=STAGES)
        ),
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_layers=2,
        encoder_feedforward_dim=48,
        # One more than there are: the library counts the prediction before the first.
        decoder_layers=4,
        dim_feedforward=80,
        num_queries=10,
        num_labels=len(CLASSES),
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    fill_by_rule(model)
    return model


@functools.cache
def ours(backbone: str) -> Mask2FormerVIS:
    model = create_model(f"mask2former_vis_{backbone}", vocabulary=CLASSES, **SLIM)
    assert isinstance(model, Mask2FormerVIS)
    state = hugging_face(backbone).state_dict()
    model.load_state_dict(convert_state_dict(state, "mask2former_vis"))
    return model.eval()


def assert_close(got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape
    assert float((got - wanted).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny"])
@torch.no_grad()
def test_every_stage_is_the_same(backbone: str) -> None:
    theirs, model = hugging_face(backbone), ours(backbone)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (1, 1, 3, 70, 90), dtype=torch.uint8, generator=generator)
    wanted = theirs(
        pixel_values=model.normalise(frames)[0],
        pixel_mask=torch.ones(1, 96, 96),
        output_hidden_states=True,
        output_auxiliary_logits=True,
    )
    pyramid = model.extract(frames)
    for level, stride in zip(wanted.encoder_hidden_states, (4, 8, 16, 32), strict=True):
        assert_close(pyramid[stride][0], level)
    levels = model.neck(pyramid)
    for level, stride in zip(wanted.pixel_decoder_hidden_states, (32, 16, 8), strict=True):
        assert_close(levels[stride][0], level)
    assert_close(levels[4][0], wanted.pixel_decoder_last_hidden_state)
    output = model(frames, VIS(CLASSES), features=pyramid)
    predicted = [*wanted.auxiliary_logits, wanted]
    for at, prediction in zip((*output.auxiliary, output), predicted, strict=True):
        assert_close(at.mask_logits[:, :, 0], prediction["masks_queries_logits"])
        assert_close(at.class_logits, prediction["class_queries_logits"])


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny"])
def test_files_have_other_names_and_the_same_weights(backbone: str, tmp_path: Path) -> None:
    hugging_face(backbone).save_pretrained(tmp_path)
    state = load_checkpoint(tmp_path / "model.safetensors")
    assert backbone == "resnet50" or state.keys() != hugging_face(backbone).state_dict().keys()
    converted = convert_state_dict(state, "mask2former_vis")
    own = ours(backbone).state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[name], own[name]) for name in own)
    model = create_model(
        f"mask2former_vis_{backbone}",
        checkpoint=tmp_path / "model.safetensors",
        vocabulary=CLASSES,
        **SLIM,
    )
    assert model.provenance["source"] == "mask2former_vis"


def test_the_official_names_follow() -> None:
    own = ours("swin_tiny").state_dict()
    official = export_state_dict(own, "mask2former_vis")
    assert official["backbone.layers.0.blocks.1.attn.qkv.weight"].shape == (288, 96)
    back = convert_state_dict(official, "mask2former_vis")
    assert back.keys() == own.keys()
    assert all(torch.equal(back[name], own[name]) for name in own)


def test_an_image_model_is_where_videos_begin() -> None:
    state = ours("resnet50").state_dict()
    head = "decoder.blocks.0.class_head.linear.weight"
    model = create_model("mask2former_vis_resnet50", vocabulary=("dog", "fish", "cat"), **SLIM)
    assert isinstance(model, Mask2FormerVIS)
    fresh = model.state_dict()[head].clone()
    assert start_from(model, state) == ()
    assert torch.equal(model.query_content, state["query_content"])
    assert torch.equal(model.state_dict()[head], fresh)
    assert start_from(model, state, CLASSES) == ("dog", "cat")
    rows = model.state_dict()[head]
    assert torch.equal(rows[[0, 2, 3]], state[head][[1, 0, 5]])
    assert torch.equal(rows[1], fresh[1])
    with pytest.raises(ValueError, match="classes must be 5, one a row of the classifier, got 2"):
        start_from(model, state, CLASSES[:2])
    with pytest.raises(CheckpointError, match="1 missing"):
        start_from(model, {k: v for k, v in state.items() if k != "query_content"})


def test_differences_are_errors() -> None:
    state = dict(hugging_face("resnet50").state_dict())
    state["model.extra.weight"] = state.pop("model.transformer_module.level_embed.weight")
    with pytest.raises(CheckpointError, match="1 missing, 1 unexpected"):
        convert_state_dict(state, "mask2former_vis")
