"""Groups of parameters: each once, at its rate, with or without decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segblocks.training.optimizer import freeze, parameter_groups
from segblocks.zoo import create_model


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
        self.neck.no_decay_names = ("0.bias",)
        self.backbones = nn.Linear(4, 4)
        self.table = nn.Embedding(3, 4)
        self.types = nn.ParameterDict({"a": torch.zeros(4), "b": torch.zeros(4)})
        self.last = self.tied = nn.Linear(4, 4)
        self.no_decay_names = ("types",)


def sorted_names(model: nn.Module) -> dict[tuple[float, float], set[str]]:
    groups = parameter_groups(model, learning_rate=1.0, backbone_factor=0.1, weight_decay=0.05)
    return {(group["lr"], group["weight_decay"]): set(group["names"]) for group in groups}


def test_rates_and_decay() -> None:
    assert sorted_names(Model()) == {
        (0.1, 0.05): {"backbone.0.weight", "backbone.0.bias"},
        (0.1, 0.0): {"backbone.1.weight", "backbone.1.bias"},
        (1.0, 0.05): {
            "neck.0.weight",
            "backbones.weight",
            "backbones.bias",
            "last.weight",
            "last.bias",
        },
        (1.0, 0.0): {
            "neck.0.bias",
            "neck.1.weight",
            "neck.1.bias",
            "table.weight",
            "types.a",
            "types.b",
        },
    }


def test_frozen_parameters_are_left_out() -> None:
    model = Model()
    freeze(model, ["neck.0", "tied.bias", "backbone"])
    names = set().union(*sorted_names(model).values())
    assert names == {
        *("neck.1.weight", "neck.1.bias", "backbones.weight", "backbones.bias"),
        *("table.weight", "types.a", "types.b", "last.weight"),
    }


def test_tarvis_has_every_parameter_once() -> None:
    model = create_model("tarvis_nano", checkpoint="random")
    groups = parameter_groups(model, learning_rate=1e-4)
    taken = [id(parameter) for group in groups for parameter in group["params"]]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(taken) == len(set(taken))
    assert set(taken) == trained
    for group in groups:
        named = dict(model.named_parameters())
        assert [id(named[name]) for name in group["names"]] == [id(p) for p in group["params"]]
    torch.optim.AdamW(groups)


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        (
            "tarvis_nano",
            "neck.level_embedding neck.temporal_level_embedding decoder.level_embedding "
            "object_encoder.point_type queries.instance queries.semantic queries.types.object",
        ),
        ("mask2former_vis_resnet50", "neck.level_embedding query_content query_position"),
    ],
)
def test_learned_queries_and_embeddings_do_not_decay(name: str, learned: str) -> None:
    groups = parameter_groups(create_model(name, checkpoint="random"), learning_rate=1.0)
    spared = {n for group in groups if group["weight_decay"] == 0 for n in group["names"]}
    assert set(learned.split()) <= spared


def test_the_schedule_has_something_to_multiply() -> None:
    groups = parameter_groups(Model(), learning_rate=3.0, backbone_factor=0.5)
    assert {group["full_lr"] for group in groups} == {3.0, 1.5}


def test_errors() -> None:
    model = Model()
    with pytest.raises(ValueError, match=r"frozen: no parameter is called 'bakbone'.*close: back"):
        freeze(model, ["bakbone"])
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.no_decay_names = ("typ",)
    with pytest.raises(ValueError, match=r"Model\.no_decay_names: no parameter is called 'typ'"):
        parameter_groups(model, learning_rate=1.0)
    with pytest.raises(ValueError, match="has no parameter that is trained"):
        parameter_groups(nn.ReLU(), learning_rate=1.0)
