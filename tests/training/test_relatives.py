"""Weights of a model of another system: what both have is taken, all else is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segblocks import create_model
from segblocks.nn import FeedForward, MaskedCrossAttention, Predict, PredictByText
from segblocks.training.initial import InitialWeights, load_initial
from segblocks.training.relatives import take_from_relative

NANO = ("gvseg_nano", "univs_nano", "tmt_vis_nano", "mask2former_vis_nano")


@pytest.mark.parametrize("name", NANO)
def test_parts_of_a_kind_are_equal_in_their_order(name: str) -> None:
    torch.manual_seed(0)
    model, relative = create_model(name, checkpoint="random"), create_model("tarvis_nano")
    share = take_from_relative(model, relative)
    assert 0.8 < share < 1
    for kind in (MaskedCrossAttention, FeedForward):
        own, theirs = (
            [step for step in m.decoder.blocks if isinstance(step, kind)] for m in (model, relative)
        )
        assert len(own) == len(theirs) == model.config.decoder_layers
        for mine, other in zip(own, theirs, strict=True):
            for key, value in mine.state_dict().items():
                torch.testing.assert_close(value, other.state_dict()[key], rtol=0, atol=0)
    for key, value in model.neck.state_dict().items():
        torch.testing.assert_close(value, relative.neck.state_dict()[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "head"), [("mask2former_vis_nano", "instance"), ("univs_nano", "object")]
)
def test_queries_of_instances_are_taken_with_their_type(name: str, head: str) -> None:
    torch.manual_seed(0)
    relative = create_model("tarvis_nano")
    model = create_model(name, checkpoint="random", num_queries=50)
    rest = model.query_content[40:].clone()
    take_from_relative(model, relative)
    assert torch.equal(model.query_content[:40], relative.queries.instance)
    assert torch.equal(model.query_content[40:], rest)
    kind = relative.queries.type_embedding("instance")
    assert torch.equal(model.query_position[:40], kind.expand(40, -1))
    predicts = [
        next(step for step in m.decoder.blocks if isinstance(step, Predict | PredictByText))
        for m in (model, relative)
    ]
    own, theirs = predicts[0].mask_head.embedding, predicts[1].mask_head.embeddings[head]
    torch.testing.assert_close(own.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    other = create_model("tmt_vis_nano", checkpoint="random", num_queries=45)
    take_from_relative(other, model)
    assert torch.equal(other.query_position, model.query_position[:45])


def test_one_position_for_all_is_the_mean_of_those_of_the_relative() -> None:
    torch.manual_seed(0)
    relative = create_model("mask2former_vis_nano")
    model = create_model("tarvis_nano", checkpoint="random", num_instance_queries=15)
    assert take_from_relative(model, relative) > 0.8
    assert torch.equal(model.queries.instance, relative.query_content[:15])
    shared = relative.query_position[:15].mean(0, keepdim=True)
    torch.testing.assert_close(model.queries.type_embedding("instance"), shared, rtol=0, atol=0)


def test_what_the_relative_lacks_stays() -> None:
    torch.manual_seed(0)
    model = create_model("univs_nano", checkpoint="random")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    take_from_relative(model, create_model("tarvis_nano"))
    after = model.state_dict()
    key = "prompts.text_projection.0.weight"
    torch.testing.assert_close(after[key], before[key], rtol=0, atol=0)
    # A step that TarViS does not have, at a place where TarViS has another one of equal names.
    untouched = [key for key in before if key.startswith("decoder.blocks.0.")]
    assert untouched
    assert all(torch.equal(after[key], before[key]) for key in untouched)


def test_models_that_share_nothing_are_refused() -> None:
    model = create_model("gvseg_nano", checkpoint="random")
    with pytest.raises(ValueError, match="must have the backbone tf_efficientnet_lite0, got resn"):
        take_from_relative(model, create_model("tarvis_resnet50"))
    slim = create_model("univs_nano", checkpoint="random", embed_dim=64, num_heads=4)
    with pytest.raises(ValueError, match="with the backbone alone alike"):
        take_from_relative(slim, create_model("tarvis_nano"))


def test_by_name_and_by_folder(tmp_path: Path) -> None:
    model = create_model("gvseg_nano", checkpoint="random")
    lines = load_initial(model, InitialWeights(relative="tarvis_nano"))
    assert lines == ["tarvis_nano: 96% of all weights, the rest random"]
    create_model("tarvis_nano").save_pretrained(tmp_path / "saved")
    other = create_model("gvseg_nano", checkpoint="random")
    load_initial(other, InitialWeights(relative=str(tmp_path / "saved")))
    torch.testing.assert_close(model.neck.state_dict(), other.neck.state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"initial\.relative must be a model whose weights come"):
        load_initial(model, InitialWeights(relative="tarvis_resnet50"))


def test_a_folder_does_not_hide_the_weights_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tarvis_nano").mkdir()  # what "--out tarvis_nano" leaves
    model = create_model("gvseg_nano", checkpoint="random")
    lines = load_initial(model, InitialWeights(relative="tarvis_nano"))
    assert lines == ["tarvis_nano: 96% of all weights, the rest random"]
    create_model("tarvis_nano").save_pretrained(tmp_path / "tarvis_resnet50")
    assert "96%" in load_initial(model, InitialWeights(relative="tarvis_resnet50"))[0]
