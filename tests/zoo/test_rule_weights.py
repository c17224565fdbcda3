"""Weights by rule."""

from __future__ import annotations

import torch
from torch import nn

from segblocks.zoo.rule_weights import fill_by_rule


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 256))


def test_same_names_give_same_weights_whatever_the_global_seed() -> None:
    first, second = network(), network()
    torch.manual_seed(1)
    fill_by_rule(first)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    fill_by_rule(second)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    fill_by_rule(second, seed=1)
    assert not torch.equal(first[0].weight, second[0].weight)


def test_scales() -> None:
    model = network()
    fill_by_rule(model)
    weights = model.state_dict()
    torch.testing.assert_close(weights["0.weight"].std(), torch.tensor(27**-0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(weights["2.weight"].std(), torch.tensor(1 / 8), atol=0.01, rtol=0)
    assert (weights["1.weight"] - 1).abs().max() < 0.3
    assert weights["2.bias"].abs().max() < 0.3
    assert 0.5 <= weights["1.running_var"].min() <= weights["1.running_var"].max() <= 1.5
    assert weights["1.num_batches_tracked"] == 0


def test_a_known_value_does_not_drift() -> None:
    model = nn.Linear(2, 1)
    fill_by_rule(model)
    expected = torch.tensor([[-0.8528054, 1.0346254]])
    torch.testing.assert_close(model.weight.detach(), expected, atol=1e-6, rtol=0)
