"""The taxonomy injection: what each way of it computes, and when it changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from segblocks.nn import (
    Decoder,
    DecoderContext,
    FeedForward,
    LinearClassHead,
    MaskedCrossAttention,
    MaskEmbedding,
    Memory,
    Predict,
    PredictAs,
    Queries,
    SelfAttention,
    TaxonomyInjection,
    mlp,
)
from tests.nn.test_taxonomy import DIM, HEADS, attend


def some_queries(batch: int = 2, count: int = 5, frames: int | None = None) -> Queries:
    torch.manual_seed(4)
    shape = (batch, count, DIM) if frames is None else (batch, count, frames, DIM)
    content, position = torch.randn(shape).double(), torch.randn(1, *shape[1:]).double()
    return Queries(content, position, {"instance": slice(0, count)})


def taxonomy(batch: int = 2, count: int = 3, mask: Tensor | None = None) -> DecoderContext:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randn(batch, count, DIM, generator=generator).double()
    return DecoderContext({}, {"taxonomy": Memory(tokens, mask=mask)})


def injection(**kwargs: object) -> TaxonomyInjection:
    torch.manual_seed(6)
    return TaxonomyInjection(DIM, HEADS, 24, **kwargs).double()


@torch.no_grad()
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("frames", [None, 2])
def test_queries_attend_to_the_classes_of_their_clip(norm: str, frames: int | None) -> None:
    step, queries = injection(norm=norm), some_queries(frames=frames)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    context = taxonomy(mask=mask[:, None].expand(-1, 5, -1))
    got = step(queries, context)
    tokens = context.memory["taxonomy"].tokens
    position = queries.position.expand_as(queries.content)
    feed = step.feed_forward
    for b in range(2):
        for q in range(5):
            for t in range(frames or 1):
                at = (b, q, t) if frames else (b, q)
                x, place, keys = queries.content[at], position[at], tokens[b, mask[b]]
                if norm == "post":
                    x = step.norm(x + attend(step.attention, x + place, keys, keys))
                    x = step.feed_forward_norm(x + feed[2](feed[0](x).clamp(min=0)))
                else:
                    x = x + attend(step.attention, step.norm(x) + place, keys, keys)
                    x = x + feed[2](feed[0](step.feed_forward_norm(x)).clamp(min=0))
                torch.testing.assert_close(got.content[at], x, atol=1e-10, rtol=0)
    assert got.position is queries.position


@torch.no_grad()
def test_the_order_of_the_classes_and_what_is_masked_do_not_matter() -> None:
    step, queries = injection(), some_queries()
    mask = torch.tensor([True, True, False]).expand(2, 5, 3)
    context = taxonomy(mask=mask)
    tokens = context.memory["taxonomy"].tokens
    want = step(queries, context).content
    other = tokens[:, [1, 0, 2]].clone()
    other[:, 2] = 1e6
    context.memory["taxonomy"] = Memory(other, mask=mask)
    torch.testing.assert_close(step(queries, context).content, want, atol=1e-12, rtol=0)
    context.memory["taxonomy"] = Memory(tokens[:, :2])
    torch.testing.assert_close(step(queries, context).content, want, atol=1e-12, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("frames", [None, 2])
def test_adding_gives_the_classes_in_turn(frames: int | None) -> None:
    step, queries = injection(aggregation="add"), some_queries(frames=frames)
    context = taxonomy()
    got = step(queries, context).content
    feed = step.feed_forward
    for q in range(5):
        added = context.memory["taxonomy"].tokens[:, q % 3]
        added = added[:, None] if frames else added
        x = step.norm(queries.content[:, q] + added)
        x = step.feed_forward_norm(x + feed[2](feed[0](x).clamp(min=0)))
        torch.testing.assert_close(got[:, q], x, atol=1e-12, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("frames", [None, 2])
def test_concatenating_appends_the_classes_once(frames: int | None) -> None:
    step, queries, context = injection(aggregation="concatenate"), some_queries(frames=frames), None
    context = taxonomy()
    got = step(queries, context)
    assert got.groups == {"instance": slice(0, 5), "taxonomy": slice(5, 8)}
    assert torch.equal(got.group("instance"), queries.content)
    tokens = context.memory["taxonomy"].tokens
    for t in range(frames or 1):
        appended = got.group("taxonomy")
        assert torch.equal(appended[:, :, t] if frames else appended, tokens)
    assert not got.position[:, 5:].any()
    assert step(got, context) is got
    assert not list(step.parameters())


def decoder(*injections: nn.Module) -> tuple[Decoder, Decoder]:
    """A baseline of two layers, and the same with injections and predictions after them."""
    torch.manual_seed(7)
    heads = MaskEmbedding(mlp(DIM, DIM, DIM)), LinearClassHead(DIM, 4, group="instance")
    predict = Predict(nn.LayerNorm(DIM), *heads)
    plain: list[nn.Module] = [predict]
    injected: list[nn.Module] = [predict]
    for stride, step in zip((16, 8), injections, strict=True):
        layer = [
            MaskedCrossAttention(DIM, HEADS, stride=stride),
            SelfAttention(DIM, HEADS),
            FeedForward(DIM, 24),
            predict,
        ]
        plain += layer
        injected += [step, PredictAs(predict, "taxonomy"), *layer]
    base, full = Decoder(plain, DIM, strides=(16, 8)), Decoder(injected, DIM, strides=(16, 8))
    full.level_embedding = base.level_embedding
    return base.double(), full.double()


def run(module: Decoder, memory: Memory | None = None) -> tuple:
    generator = torch.Generator().manual_seed(8)
    features = {
        s: torch.randn(2, 2, DIM, 64 // s, 96 // s, generator=generator).double()
        for s in (4, 8, 16)
    }
    context = module.context(features)
    if memory is not None:
        context.memory["taxonomy"] = memory
    return module(some_queries(), context).predictions


@torch.no_grad()
def test_with_zeroed_projections_the_decoder_is_the_baseline_bit_for_bit() -> None:
    steps = [injection(norm="pre"), injection(norm="pre")]
    base, full = decoder(*steps)
    memory = taxonomy().memory["taxonomy"]
    want = run(base)
    got = [p for p in run(full, memory) if p.name == "prediction"]
    assert (got[-1].queries - want[-1].queries).abs().max() > 1e-3
    for step in steps:
        step.start_as_identity()
    got = [p for p in run(full, memory) if p.name == "prediction"]
    assert len(got) == len(want) == 3
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a.queries, b.queries)
        assert torch.equal(a.mask_embeddings, b.mask_embeddings)
        assert torch.equal(a.class_logits, b.class_logits)


def test_predictions_after_the_injection_have_its_name_and_no_weights_of_their_own() -> None:
    base, full = decoder(injection(), injection())
    predictions = run(full, taxonomy().memory["taxonomy"])
    assert [p.name for p in predictions] == [
        "prediction", "taxonomy", "prediction", "taxonomy", "prediction"
    ]  # fmt: skip
    normed = base.steps[0].norm(predictions[1].queries)
    torch.testing.assert_close(
        predictions[1].class_logits, base.steps[0].class_head.linear(normed), atol=1e-12, rtol=0
    )
    assert not [name for name in full.state_dict() if name.startswith("blocks.2.")]
    twin = copy.deepcopy(full)
    with torch.no_grad():
        twin.steps[0].class_head.linear.bias.add_(1)
    again = run(twin, taxonomy().memory["taxonomy"])
    torch.testing.assert_close(again[1].class_logits, predictions[1].class_logits + 1)


def test_the_masks_of_the_injected_queries_guide_attention() -> None:
    _, full = decoder(injection(), injection())
    context = taxonomy()
    before = full.steps[0](some_queries(), context)
    full.steps[2](full.steps[1](before, context), context)
    assert context.prediction.name == "taxonomy"
    assert context.prediction is context.predictions[-1]


def test_gradients_reach_the_classes_from_every_injection() -> None:
    for kwargs in ({}, {"norm": "pre"}, {"aggregation": "add"}, {"aggregation": "concatenate"}):
        steps = [injection(**kwargs), injection(**kwargs)]
        _, full = decoder(*steps)
        memory = taxonomy().memory["taxonomy"]
        tokens = memory.tokens.requires_grad_()
        run(full, memory)[-1].class_logits.square().sum().backward()
        assert tokens.grad.abs().amax(-1).min() > 0
        assert all(p.grad is not None for step in steps for p in step.parameters())


def test_it_compiles_whole() -> None:
    step, context = injection(), taxonomy()

    queries = some_queries()

    def call(content: Tensor, tokens: Tensor) -> Tensor:
        context = DecoderContext({}, {"taxonomy": Memory(tokens)})
        return step(queries.with_content(content), context).content

    arguments = queries.content, context.memory["taxonomy"].tokens
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), call(*arguments))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"aggregation must be one of .* got 'sum'"):
        injection(aggregation="sum")
    with pytest.raises(ValueError, match="'pre' with cross_attention, got 'pre' with add"):
        injection(aggregation="add", norm="pre")
    with pytest.raises(ValueError, match="only with norm='pre'"):
        injection().start_as_identity()
    with pytest.raises(ValueError, match=r"memory must be one of \[\], got 'taxonomy'"):
        injection()(some_queries(), DecoderContext({}))
