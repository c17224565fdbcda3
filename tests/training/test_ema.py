"""Averaged weights against their closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segblocks.training.ema import AveragedWeights


def make_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2, dtype=torch.float64), nn.BatchNorm1d(2))
    model.append(model[0])  # shared: three names, two of one weight
    return model


def fill(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_closed_form() -> None:
    torch.manual_seed(0)
    model, decay, steps = make_model(), 0.8, 7
    values = torch.randn(steps + 1, dtype=torch.float64)
    fill(model, float(values[0]))
    averaged = AveragedWeights(model, decay)
    for value in values[1:]:
        fill(model, float(value))
        averaged.update()
    wanted = decay**steps * values[0] + sum(
        (1 - decay) * decay ** (steps - i) * values[i] for i in range(1, steps + 1)
    )
    state = averaged.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name in ("0.weight", "0.bias", "2.weight"):
        assert torch.allclose(state[name], wanted.expand_as(state[name]), rtol=1e-14, atol=0)
    assert state["0.weight"].dtype == torch.float64


def test_half_precision_is_averaged_in_single() -> None:
    model = nn.Linear(1, 1, bias=False).half()
    fill(model, 1.0)
    averaged = AveragedWeights(model, 0.9999)
    fill(model, 2.0)
    for _ in range(10):
        averaged.update()
    # One float16 has 1.00098 after 1: nothing would have been added.
    assert averaged.state_dict()["weight"].item() == pytest.approx(2 - 0.9999**10, rel=1e-6)


def test_buffers_are_those_of_the_model() -> None:
    model = make_model()
    averaged = AveragedWeights(model, 0.5)
    model[1].running_mean.fill_(7.0)
    averaged.update()
    assert averaged.state_dict()["1.running_mean"].tolist() == [7.0, 7.0]


def test_applied_for_a_while() -> None:
    model = make_model()
    fill(model, 1.0)
    averaged = AveragedWeights(model, 0.75)
    fill(model, 5.0)
    averaged.update()
    with averaged.applied():
        assert model[0].weight.unique().tolist() == [2.0]
    assert model[0].weight.unique().tolist() == [5.0]
    assert averaged.state_dict()["0.weight"].unique().tolist() == [2.0]


def test_going_on() -> None:
    first, second = make_model(), make_model()
    one = AveragedWeights(first, 0.5)
    other = AveragedWeights(second, 0.5)
    other.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    for model, averaged in ((first, one), (second, other)):
        fill(model, 3.0)
        averaged.update()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_errors() -> None:
    with pytest.raises(ValueError, match="decay must lie between 0 and 1, got 1"):
        AveragedWeights(make_model(), 1)
    with pytest.raises(ValueError, match=r"another model: \['0.bias', '0.weight'"):
        AveragedWeights(make_model(), 0.5).load_state_dict({"weight": torch.zeros(1)})
