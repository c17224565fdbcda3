from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segblocks.nn import (
    ConfidentThings,
    Decoder,
    DecoderContext,
    FeedForward,
    LinearClassHead,
    MaskedCrossAttention,
    MaskEmbedding,
    Predict,
    Prediction,
    Queries,
    SelfAttention,
    ShapePositionDescriptor,
    ShapePositionInjection,
    mask_logits,
    mlp,
)

DIM = 16
GROUPS = {"instance": slice(0, 4), "semantic": slice(4, 7)}


def injection(**options) -> ShapePositionInjection:
    return ShapePositionInjection(ShapePositionDescriptor(DIM), **options)


def made(frames: int | None = None, batch: int = 2) -> tuple[Queries, DecoderContext]:
    torch.manual_seed(0)
    shape = (batch, 7, DIM) if frames is None else (batch, 7, frames, DIM)
    # Smooth features, so that masks have parts larger than a few pixels.
    coarse = torch.randn(batch * 3, DIM, 4, 6)
    features = nn.functional.interpolate(coarse, (32, 48), mode="bilinear").unflatten(0, (batch, 3))
    context = DecoderContext({}, mask_features=features)
    context.record(Prediction(torch.randn(shape), torch.randn(shape), torch.randn(*shape[:-1], 5)))
    return Queries(torch.randn(shape), torch.zeros(1, 7, DIM), GROUPS), context


def decoder(with_injection: bool) -> Decoder:
    torch.manual_seed(1)
    predict = Predict(nn.LayerNorm(DIM), MaskEmbedding(mlp(DIM, DIM)), LinearClassHead(DIM, 4))
    steps: list[nn.Module] = [predict]
    inject = injection()
    for stride in (16, 8):
        steps += [MaskedCrossAttention(DIM, 4, stride=stride)]
        steps += [inject] if with_injection else []
        steps += [SelfAttention(DIM, 4), FeedForward(DIM, 32), predict]
    return Decoder(steps, DIM, strides=(16, 8)).eval()


def decoded(select, *, with_injection: bool = True) -> Tensor:
    model = decoder(with_injection)
    torch.manual_seed(2)
    context = model.context({s: torch.randn(2, 3, DIM, 64 // s, 96 // s) for s in (4, 8, 16)})
    context.select = select
    queries = Queries(torch.randn(2, 7, DIM), torch.randn(1, 7, DIM), GROUPS)
    return model(queries, context).queries.content


@pytest.mark.parametrize("clip", ["mean", "last", "union"])
def test_selected_things_get_the_descriptor_of_their_masks(clip) -> None:
    queries, context = made()
    chosen = torch.zeros(2, 7, dtype=torch.bool)
    chosen[0, 1] = chosen[1, 3] = chosen[1, 5] = True
    context.select = lambda prediction: chosen
    added = injection(clip=clip)(queries, context).content - queries.content
    masks = mask_logits(context.prediction.mask_embeddings, context.mask_features) > 0
    assert added.any(-1).nonzero().tolist() == [[0, 1], [1, 3]]
    for b, q in ((0, 1), (1, 3)):
        frames = masks[b, q]
        if clip == "last":
            frames = frames[-1:]
        elif clip == "union":
            frames = frames.any(0, keepdim=True)
        assert frames.sum((1, 2)).min() >= 16
        want = ShapePositionDescriptor(DIM)(frames).vector.mean(0)
        torch.testing.assert_close(added[b, q], want, atol=1e-5, rtol=1e-4)


def test_queries_of_frames_get_their_own() -> None:
    queries, context = made(frames=3)
    added = injection()(queries, context).content - queries.content
    masks = mask_logits(context.prediction.mask_embeddings, context.mask_features) > 0
    shapes = ShapePositionDescriptor(DIM)(masks)
    want = shapes.vector * (masks.sum((-2, -1)) >= 16)[..., None]
    want[:, 4:] = 0
    torch.testing.assert_close(added, want, atol=1e-5, rtol=1e-4)


def test_frames_without_the_object_do_not_thin_the_mean() -> None:
    queries, context = made()
    context.mask_features[:, 1] = 0
    added = injection()(queries, context).content - queries.content
    masks = mask_logits(context.prediction.mask_embeddings, context.mask_features) > 0
    shapes = ShapePositionDescriptor(DIM)(masks[0, 0])
    assert shapes.valid.tolist() == [True, False, True]
    torch.testing.assert_close(added[0, 0], shapes.vector[[0, 2]].mean(0), atol=1e-5, rtol=1e-4)


def test_small_masks_and_padding_do_not_count() -> None:
    queries, context = made()
    assert not torch.equal(injection()(queries, context).content, queries.content)
    large = injection(min_area=32 * 48 + 1)(queries, context).content
    assert torch.equal(large, queries.content)
    context.canvas = (24, 40)
    cut = injection()(queries, context).content
    context.mask_features = context.mask_features[..., :24, :40].contiguous()
    context.canvas = None
    assert torch.equal(cut, injection()(queries, context).content)


def test_without_a_confident_query_the_decoder_is_the_baseline() -> None:
    baseline = decoded(None, with_injection=False)
    none = decoded(lambda p: torch.zeros(p.queries.shape[:2], dtype=torch.bool))
    assert torch.equal(none, baseline)
    hesitant = ConfidentThings([True] * 4, min_score=0.999)
    assert torch.equal(decoded(hesitant), baseline)
    stuff = ConfidentThings([False] * 4)
    assert torch.equal(decoded(stuff), baseline)
    assert not torch.equal(decoded(None), baseline)
    assert not torch.equal(decoded(ConfidentThings([True] * 4)), baseline)


def test_stuff_is_not_touched_at_the_injection() -> None:
    queries, context = made()
    injected = injection()(queries, context)
    assert torch.equal(injected.content[:, 4:], queries.content[:, 4:])
    assert injected.position is queries.position


def test_the_same_selection_is_the_same_in_training_and_evaluation() -> None:
    queries, context = made()
    step = injection()
    assert torch.equal(
        step.train()(queries, context).content, step.eval()(queries, context).content
    )
    assert not list(step.parameters())


def test_gradients_pass_queries_and_not_masks() -> None:
    queries, context = made()
    content = queries.content.requires_grad_()
    embeddings = context.prediction.mask_embeddings.requires_grad_()
    context.mask_features.requires_grad_()
    injection()(queries, context).content.square().sum().backward()
    assert content.grad is not None
    assert embeddings.grad is None
    assert context.mask_features.grad is None


def test_confident_things_by_hand() -> None:
    scores = torch.tensor(
        [[0.3, 0.1, 0.2, 0.4], [0.05, 0.05, 0.1, 0.8], [0.2, 0.5, 0.1, 0.2], [0.3, 0.1, 0.3, 0.3]]
    )
    blank = torch.zeros(1, 4, 8)
    prediction = Prediction(blank, blank, scores.log()[None])
    select = ConfidentThings([True, False, False])
    assert select(prediction).tolist() == [[True, False, False, True]]
    with pytest.raises(ValueError, match=r"class logits must be of all queries and classes"):
        ConfidentThings([True])(prediction)
    with pytest.raises(ValueError, match="got None"):
        select(Prediction(blank, blank))


def test_wrong_arguments_are_named() -> None:
    queries, context = made()
    with pytest.raises(ValueError, match="clip must be one of"):
        injection(clip="first")
    context.mask_features = None
    with pytest.raises(ValueError, match="put a Predict step before it"):
        injection()(queries, context)
