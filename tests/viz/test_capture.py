"""Recording what modules took in and gave out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segblocks.nn import (
    Decoder,
    FeedForward,
    MaskedCrossAttention,
    MaskEmbedding,
    Predict,
    Queries,
    mlp,
)
from segblocks.viz import capture


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_arguments_get_their_names_and_the_output_is_the_modules_own() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Bilinear(2, 3, 4), nn.ReLU())
    x, y = torch.randn(5, 2), torch.randn(5, 3)
    with capture(model, nn.Bilinear) as calls:
        output = model[0](x, input2=y)
    (call,) = calls
    assert call.name == "0"
    assert call.module is model[0]
    assert call.output is output
    assert call.inputs["input1"] is x
    assert call.inputs["input2"] is y


def test_calls_come_in_their_order_and_a_module_that_runs_twice_has_two() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(2, 1))
    with capture(model, nn.Linear) as calls:
        model(torch.zeros(1, 2))
    assert [call.name for call in calls] == ["0", "0", "3"]


def test_the_model_computes_the_same_and_has_no_hooks_afterwards() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.randn(4, 2)
    with capture(model, nn.Linear, nn.ReLU) as calls:
        captured = model(x)
    assert torch.equal(captured, model(x))
    assert len(calls) == 2
    assert num_hooks(model) == 0


def test_an_error_leaves_no_hooks() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(RuntimeError, match="shapes"), capture(model, nn.Linear):
        model(torch.zeros(1, 5))
    assert num_hooks(model) == 0


@pytest.mark.parametrize(("kinds", "named"), [((nn.Conv2d,), "Conv2d"), ((), "none")])
def test_kinds_must_be_there(kinds: tuple[type[nn.Module], ...], named: str) -> None:
    with (
        pytest.raises(ValueError, match=f"of the Linear, got {named}"),
        capture(nn.Linear(2, 2), *kinds),
    ):
        pass


def test_a_context_is_kept_as_it_stood() -> None:
    torch.manual_seed(0)
    predict = Predict(nn.LayerNorm(8), MaskEmbedding(mlp(8, 8)))
    attend = [MaskedCrossAttention(8, 2, stride=8) for _ in range(2)]
    steps = [predict, attend[0], FeedForward(8, 16), predict, attend[1], predict]
    decoder = Decoder(steps, 8, strides=(8,))
    context = decoder.context({s: torch.randn(1, 2, 8, 32 // s, 64 // s) for s in (4, 8)})
    content = torch.randn(1, 5, 8)
    with capture(decoder, MaskedCrossAttention) as calls:
        _, predictions = decoder(Queries(content, content, {"any": slice(0, 5)}), context)
    seen = [call.inputs["context"].prediction for call in calls]
    assert seen[0] is predictions[0]
    assert seen[1] is predictions[1]
