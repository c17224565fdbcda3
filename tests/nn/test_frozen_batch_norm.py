from __future__ import annotations

import pytest
import torch
from torch import nn

from segblocks.nn.frozen_batch_norm import FrozenBatchNorm2d, freeze_batch_norm


def trained_norm(channels: int = 5) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3).double()
    for name, value in norm.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + (0.5 if "var" in name else -0.5))
    return norm.eval()


def test_both_ways_of_computing_equal_an_evaluated_batch_norm() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(trained_norm())
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = net(x)
    freeze_batch_norm(net)
    assert isinstance(net[0], FrozenBatchNorm2d)
    net.train()
    torch.testing.assert_close(net(x), expected)
    torch.testing.assert_close(net(x.clone().requires_grad_()), expected)


def test_nothing_is_trainable_and_the_names_stay() -> None:
    net = nn.Sequential(nn.Sequential(trained_norm()))
    names = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    freeze_batch_norm(net)
    assert list(net.state_dict()) == names
    assert not list(net.parameters())


def test_gradients_reach_the_input() -> None:
    net = nn.Sequential(trained_norm())
    freeze_batch_norm(net)
    x = torch.randn(1, 5, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, x)


def test_a_norm_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="BatchNorm2d without running_mean"):
        freeze_batch_norm(nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)))
