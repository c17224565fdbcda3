"""The decoder's steps against plain loops, and a decoder that no published system uses."""

import math

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
    MemoryCrossAttention,
    Predict,
    Queries,
    SelfAttention,
    concatenate_queries,
    mask_logits,
    mlp,
    sine_position_3d,
)

DIM, HEADS = 16, 4


def clip(batch: int = 2, frames: int = 3, strides: tuple[int, ...] = (4, 8, 16)) -> dict:
    torch.manual_seed(0)
    return {s: torch.randn(batch, frames, DIM, 64 // s, 96 // s) for s in strides}


def predict(**kwargs: object) -> Predict:
    return Predict(nn.LayerNorm(DIM), MaskEmbedding(mlp(DIM, DIM, DIM)), **kwargs)


def some_queries(batch: int = 2, count: int = 5, frames: int | None = None) -> Queries:
    shape = (batch, count, DIM) if frames is None else (batch, count, frames, DIM)
    return Queries(torch.randn(shape), torch.randn(1, *shape[1:]), {"any": slice(0, count)})


def attend_by_hand(module: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One query (C,) over keys (n, C)."""
    q, k, v = module.query(q), module.key(k), module.value(v)
    split = DIM // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * split, (head + 1) * split)
        weights = (k[:, part] @ q[part] / math.sqrt(split)).softmax(0)
        heads.append(weights @ v[:, part])
    return module.output(torch.cat(heads))


@pytest.mark.parametrize("per_frame", [False, True])
def test_masked_attention_sees_the_mask_that_was_predicted(per_frame: bool) -> None:
    features = clip()
    step = MaskedCrossAttention(DIM, HEADS, stride=16, per_frame=per_frame)
    decoder = Decoder([predict(), step], DIM, strides=(16,))
    queries = some_queries(frames=3 if per_frame else None)
    context = decoder.context(features)
    got = decoder(queries, context).queries.content
    logits = mask_logits(context.prediction.mask_embeddings, features[4])
    resized = torch.nn.functional.interpolate(
        logits.flatten(0, 1), size=(4, 6), mode="bilinear", align_corners=False
    ).unflatten(0, logits.shape[:2])
    values = features[16] + decoder.level_embedding[0][:, None, None]
    positions = sine_position_3d(3, 4, 6, DIM).permute(0, 3, 1, 2)
    position = queries.position.expand_as(queries.content)
    for b in range(2):
        for q in range(5):
            for t in range(3) if per_frame else [slice(None)]:
                at = (b, q, t) if per_frame else (b, q)
                frames = slice(t, t + 1) if per_frame else t
                v = values[b, frames].permute(0, 2, 3, 1).reshape(-1, DIM)
                k = v + positions[frames].permute(0, 2, 3, 1).reshape(-1, DIM)
                keep = resized[b, q, frames].flatten() >= 0
                keep = keep if keep.any() else ~keep
                content = queries.content[at]
                attended = attend_by_hand(step.attention, content + position[at], k[keep], v[keep])
                torch.testing.assert_close(
                    got[at], step.norm(content + attended), atol=2e-5, rtol=1e-4
                )


def test_a_mask_passes_no_gradient() -> None:
    head = predict()
    decoder = Decoder([head, MaskedCrossAttention(DIM, HEADS, stride=16)], DIM, strides=(16,))
    queries, _ = decoder(some_queries(), decoder.context(clip()))
    queries.content[..., 0].sum().backward()
    assert all(p.grad is None for p in head.parameters())


@pytest.mark.parametrize("per_frame", [False, True])
def test_self_attention_within_frames_or_over_all(per_frame: bool) -> None:
    step, queries = SelfAttention(DIM, HEADS, per_frame=per_frame), some_queries(frames=3)
    context = DecoderContext(levels={})
    got = step(queries, context).content
    disturbed = queries.content.clone()
    disturbed[:, :, 2] += 1
    moved = (step(queries.with_content(disturbed), context).content - got).abs().amax((0, 1, 3))
    assert moved[2] > 1e-3
    assert (moved[:2] > 1e-6).tolist() == [not per_frame] * 2


def test_a_repeated_step_shares_its_weights_and_is_saved_once() -> None:
    head, feed = predict(), FeedForward(DIM, 32)
    decoder = Decoder([head, feed, head, feed, head], DIM, strides=(16,))
    assert len(decoder.blocks) == 2
    assert [type(s) for s in decoder.steps] == [Predict, FeedForward, Predict, FeedForward, Predict]
    assert len(decoder(some_queries(), decoder.context(clip())).predictions) == 3
    names = [name for name, _ in decoder.named_parameters()]
    assert len(names) == len(set(names)) == len(decoder.state_dict())


def test_clips_of_a_batch_do_not_mix() -> None:
    steps = [predict(), MaskedCrossAttention(DIM, HEADS, stride=8), SelfAttention(DIM, HEADS)]
    decoder, features, queries = Decoder(steps, DIM, strides=(8,)), clip(), some_queries()
    both = decoder(queries, decoder.context(features)).queries.content
    for b in range(2):
        alone = {s: f[b : b + 1] for s, f in features.items()}
        one = Queries(queries.content[b : b + 1], queries.position, queries.groups)
        got = decoder(one, decoder.context(alone)).queries.content
        torch.testing.assert_close(got[0], both[b], atol=1e-5, rtol=1e-5)


class KeepFirstFrame(nn.Module):
    """A user's own step: pull each query towards what it was on the first frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, dim)

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        first = queries.content[:, :, :1]
        gated = queries.content + self.gate(first - queries.content)
        return queries.with_content(gated).with_position(queries.position + 0.1 * gated.detach())


def composed() -> Decoder:
    """Per-frame queries with a memory, prompts, absolute time and a step of one's own."""
    head = predict(class_head=LinearClassHead(DIM, 7, group="learnable"))
    steps: list[nn.Module] = [
        MemoryCrossAttention(DIM, HEADS, memory="words", group="prompt"),
        head,
    ]
    for stride in (16, 8):
        steps += [
            MemoryCrossAttention(DIM, HEADS, memory="words", group="prompt"),
            MaskedCrossAttention(DIM, HEADS, stride=stride, per_frame=True),
            KeepFirstFrame(DIM),
            SelfAttention(DIM, HEADS),
            FeedForward(DIM, 32),
            head,
        ]
    return Decoder(steps, DIM, strides=(16, 8), time="absolute")


def composed_inputs(decoder: Decoder) -> tuple[Queries, DecoderContext]:
    context = decoder.context(clip(), frame_indices=[3, 4, 9])
    context.memory["words"] = Memory(torch.randn(2, 6, DIM), torch.randn(1, 6, DIM))
    learnable, prompt = torch.randn(2, 4, 3, DIM), torch.randn(2, 2, 3, DIM)
    position = torch.randn(1, 4, 1, DIM)
    return (
        concatenate_queries([("learnable", learnable, position), ("prompt", prompt, prompt)]),
        context,
    )


def test_a_composed_decoder_of_per_frame_queries() -> None:
    decoder = composed()
    queries, context = composed_inputs(decoder)
    refined, predictions = decoder(queries, context)
    assert refined.content.shape == (2, 6, 3, DIM)
    assert len(predictions) == 3
    assert predictions[-1].class_logits.shape == (2, 4, 3, 8)
    assert mask_logits(predictions[-1].mask_embeddings, clip()[4]).shape == (2, 6, 3, 16, 24)
    changed = context.memory["words"].tokens + 1
    again = decoder.context(clip(), frame_indices=[3, 4, 9])
    again.memory["words"] = Memory(changed, context.memory["words"].positions)
    only_prompts = (
        decoder.steps[0](queries, again).content - decoder.steps[0](queries, context).content
    )
    assert not only_prompts[:, queries.groups["learnable"]].any()
    assert only_prompts[:, queries.groups["prompt"]].any()


def test_a_composed_decoder_compiles_whole() -> None:
    decoder = composed()
    queries, context = composed_inputs(decoder)
    tokens, positions = context.memory["words"].tokens, context.memory["words"].positions

    def run(content: Tensor, position: Tensor, tokens: Tensor, features: dict) -> Tensor:
        context = decoder.context(features, frame_indices=[3, 4, 9])
        context.memory["words"] = Memory(tokens, positions)
        queries_ = Queries(content, position, queries.groups)
        return decoder(queries_, context).predictions[-1].mask_embeddings

    arguments = (queries.content, queries.position, tokens, clip())
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), run(*arguments), atol=1e-5, rtol=1e-5)


def test_wrong_arguments_are_named() -> None:
    decoder = composed()
    with pytest.raises(ValueError, match="absolute time needs frame_indices"):
        decoder.context(clip())
    with pytest.raises(ValueError, match=r"features lack strides \[16\]"):
        decoder.context(clip(strides=(4, 8)), frame_indices=[0, 1, 2])
    with pytest.raises(ValueError, match="time must be"):
        Decoder([], DIM, time="sometimes")
    step = MaskedCrossAttention(DIM, HEADS, stride=16)
    with pytest.raises(ValueError, match=r"per_frame=False needs queries \(B, Q, C\)"):
        step(some_queries(frames=3), DecoderContext(levels={}))
    with pytest.raises(ValueError, match="put a Predict step before it"):
        step(some_queries(), DecoderContext(levels={}))
    with pytest.raises(ValueError, match="memory must be one of"):
        MemoryCrossAttention(DIM, HEADS, memory="words")(some_queries(), DecoderContext(levels={}))
