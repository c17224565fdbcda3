"""Official checkpoints in, official checkpoints out, and nothing in between lost or made up."""

from __future__ import annotations

import collections
import functools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.text import get_vocabulary
from segblocks.zoo import CheckpointError, convert_state_dict, create_model, export_state_dict
from segblocks.zoo.checkpoint import load_checkpoint
from segblocks.zoo.mask2former_vis import Mask2FormerVIS, Mask2FormerVISConfig, start_from
from tests import parity

SOURCE = "mask2former_vis"
PREDICTOR = "sem_seg_head.predictor."
SLIM: dict[str, Any] = {
    "vocabulary": ("cat", "dog"),
    "num_queries": 5,
    "embed_dim": 32,
    "neck_layers": 1,
    "neck_hidden_dim": 16,
    "decoder_layers": 2,
    "decoder_hidden_dim": 16,
}


@functools.cache
def official(backbone: str = "resnet50") -> dict[str, Tensor]:
    """The official state dict of a slim model with distinct values."""
    torch.manual_seed(0)
    own = Mask2FormerVIS(Mask2FormerVISConfig(backbone=backbone, **SLIM)).state_dict()
    return export_state_dict({k: torch.randn_like(v) for k, v in own.items()}, SOURCE)


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parity
def test_export_is_the_inverse_of_convert() -> None:
    torch.manual_seed(0)
    entries = parity.read("mask2former_vis_resnet50_state_dict")
    source = {name: torch.randn(shape) for name, shape, _ in entries}
    converted = convert_state_dict(source, SOURCE)
    assert_same(export_state_dict(converted, SOURCE), source)
    with torch.device("meta"):
        expected = create_model("mask2former_vis_resnet50").state_dict()
    assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny"])
def test_every_backbone_and_size_comes_back(backbone: str) -> None:
    source = official(backbone)
    own = convert_state_dict(source, SOURCE)
    with torch.device("meta"):
        expected = create_model(f"mask2former_vis_{backbone}", **SLIM).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in expected.items()}
    assert_same(export_state_dict(own, SOURCE), source)
    index = "backbone.layers.0.blocks.0.attn.relative_position_index"
    constants = {} if backbone == "resnet50" else {index: torch.zeros(49, 49, dtype=torch.int64)}
    assert_same(convert_state_dict({**source, **constants}, SOURCE), own)


def test_a_pickle_of_arrays_is_read_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "model_final.pkl"
    arrays = {name: value.numpy() for name, value in official().items()}
    content = {"model": arrays, "__author__": "nobody", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content))
    assert_same(load_checkpoint(path), official())
    model = create_model("mask2former_vis_resnet50", checkpoint=path, **SLIM)
    assert_same(export_state_dict(model.state_dict(), SOURCE), official())  # type: ignore[attr-defined]
    assert model.provenance["source"] == SOURCE
    path.write_bytes(pickle.dumps({"model": arrays, "hook": print}))
    with pytest.raises(CheckpointError, match=r"holds builtins\.print"):
        load_checkpoint(path)


def test_a_pickled_state_dict_of_pytorch_may_hold_versions(tmp_path: Path) -> None:
    state = collections.OrderedDict((name, value.numpy()) for name, value in official().items())
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": state, "iteration": 3}))
    assert_same(load_checkpoint(path), official())


def test_older_files_and_those_without_weights_of_classes() -> None:
    source = official()
    own = convert_state_dict(source, SOURCE)
    older = {**source}
    older[f"{PREDICTOR}static_query.weight"] = older.pop(f"{PREDICTOR}query_feat.weight")
    assert_same(convert_state_dict(older, SOURCE), own)
    older.pop("criterion.empty_weight")
    usual = {**own, "class_weights": torch.tensor([1.0, 1.0, 0.1])}
    assert_same(convert_state_dict(older, SOURCE), usual)


def test_weights_of_images_have_other_classes() -> None:
    """The 133 classes of COCO, whose heads go on to the 40 of YouTube-VIS 2021 by name."""
    coco, slim = get_vocabulary("coco_panoptic"), {**SLIM, "vocabulary": "coco_panoptic"}
    torch.manual_seed(0)
    image = Mask2FormerVIS(Mask2FormerVISConfig(**slim)).state_dict()
    converted = convert_state_dict(export_state_dict(image, SOURCE), SOURCE)
    assert_same(converted, image)
    video = Mask2FormerVIS(Mask2FormerVISConfig(**{**SLIM, "vocabulary": "youtube_vis_2021"}))
    before = {name: value.clone() for name, value in video.state_dict().items()}
    taken = start_from(video, converted, coco)
    assert {"person", "dog", "cat", "bear"} <= set(taken)
    head = "decoder.blocks.0.class_head.linear.weight"
    after = video.state_dict()[head]
    for row, name in enumerate(video.vocabulary.classes):
        expected = image[head][coco.index(name)] if name in taken else before[head][row]
        assert torch.equal(after[row], expected)
    assert torch.equal(after[-1], image[head][-1])


def test_differences_are_errors_with_a_table() -> None:
    source = {**official()}
    lost = source.pop(f"{PREDICTOR}level_embed.weight")
    source[f"{PREDICTOR}extra.weight"] = lost
    source["sem_seg_head.pixel_decoder.mask_features.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError) as caught:
        convert_state_dict(source, SOURCE)
    text = str(caught.value)
    assert "1 missing, 1 unexpected, 1 misshapen" in text
    assert f"{PREDICTOR}extra.weight (3, 32)" in text
    assert "mask_features.bias: expected (32,) float32, got (7,)" in text


def test_a_file_for_other_classes_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save({"model": official()}, tmp_path / "image.pth")
    other = {**SLIM, "vocabulary": ("cat", "dog", "fish")}
    with pytest.raises(
        CheckpointError,
        match=r"is not for mask2former_vis_resnet50(.|\n)*2 classes; .*start_from takes it",
    ):
        create_model("mask2former_vis_resnet50", checkpoint=tmp_path / "image.pth", **other)


def test_what_is_no_mask2former_is_told() -> None:
    with pytest.raises(CheckpointError, match="not a Mask2Former checkpoint: it has no"):
        convert_state_dict({"conv.weight": torch.zeros(1)}, SOURCE)
    headless = {k: v for k, v in official().items() if not k.startswith("backbone.")}
    with pytest.raises(CheckpointError, match=r"ResNet-50 or a Swin .* got neither"):
        convert_state_dict(headless, SOURCE)
    with pytest.raises(ValueError, match="weights must be 'student', got 'ema'"):
        convert_state_dict(official(), SOURCE, weights="ema")
    with pytest.raises(CheckpointError, match="the key table does not fit"):
        export_state_dict({"conv.weight": torch.zeros(1)}, SOURCE)
