"""Attention of prompts against naive problems of one query, of streams against a masked square."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segblocks.nn import (
    DecoderContext,
    Memory,
    PromptCrossAttention,
    Queries,
    SeparatedSelfAttention,
)

DIM, HEADS = 16, 4
B, T = 2, 3
GROUPS = {"learnable": slice(0, 4), "prompt": slice(4, 7), "grounding": slice(7, 9)}


def queries(seed: int = 0) -> Queries:
    generator = torch.Generator().manual_seed(seed)
    content = torch.randn(B, 9, T, DIM, generator=generator, dtype=torch.float64)
    position = torch.randn(1, 9, 1, DIM, generator=generator, dtype=torch.float64)
    return Queries(content, position.expand(-1, -1, T, -1), GROUPS)


def official(step: Any) -> nn.MultiheadAttention:
    """The same weights in torch's own attention."""
    ours = step.attention
    module = nn.MultiheadAttention(DIM, HEADS, batch_first=True, dtype=torch.float64)
    parts = (ours.query, ours.key, ours.value)
    module.load_state_dict(
        {
            "in_proj_weight": torch.cat([part.weight for part in parts]),
            "in_proj_bias": torch.cat([part.bias for part in parts]),
            "out_proj.weight": ours.output.weight,
            "out_proj.bias": ours.output.bias,
        }
    )
    return module


def randomise(step: Any) -> Any:
    torch.manual_seed(1)
    for parameter in step.parameters():
        nn.init.normal_(parameter, std=0.4)
    return step.double()


def naive(
    step: PromptCrossAttention, content: Tensor, position: Tensor, memory: Memory
) -> dict[tuple[int, int, int], Tensor]:
    """One problem a clip, prompt and frame, of one query."""
    attention, found = official(step), {}
    for b, q, t in torch.cartesian_prod(*map(torch.arange, content.shape[:3])).tolist():
        own = content[b, q, t][None]
        tokens = memory.tokens[b, q] if memory.tokens.dim() == 4 else memory.tokens[b, q, t]
        values = torch.cat((own, tokens))
        placed, keys = own, values
        if memory.positions is not None:
            places = memory.positions[b, q]
            places = places if places.dim() == 2 else places[t]
            placed = own + position[b, q, t]
            keys = values + torch.cat((position[b, q, t][None], places))
        hidden = None
        if memory.mask is not None:
            hidden = torch.cat((torch.tensor([False]), ~memory.mask[b, q]))[None]
        attended = attention(placed, keys, values, attn_mask=hidden)[0]
        found[b, q, t] = step.norm(own + attended)[0]
    return found


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_shared_keys_give_what_a_batch_of_single_queries_gives(
    per_frame: bool, placed: bool, masked: bool
) -> None:
    asked = queries()
    step = randomise(PromptCrossAttention(DIM, HEADS))
    shape = (B, 3, T, 5, DIM) if per_frame else (B, 3, 5, DIM)
    tokens = torch.randn(shape, dtype=torch.float64)
    tokens[:, 1, ..., 2:, :] = 0  # blank tokens are attended to like any other
    positions = torch.randn(shape, dtype=torch.float64) if placed else None
    mask = torch.rand(B, 3, 5) > 0.5 if masked else None
    memory = Memory(tokens, positions, mask)
    refined = step(asked, DecoderContext({}, {"prompt": memory}))
    part = GROUPS["prompt"]
    want = naive(step, asked.group("prompt"), asked.position.expand(B, -1, -1, -1)[:, part], memory)
    for (b, q, t), value in want.items():
        torch.testing.assert_close(refined.content[b, part.start + q, t], value)
    others = [0, 1, 2, 3, 7, 8]
    assert (refined.content[:, others] == asked.content[:, others]).all()
    assert (refined.position == asked.position).all()


def test_the_first_one_moves_the_prompts_and_nothing_else() -> None:
    asked = queries()
    step = randomise(PromptCrossAttention(DIM, HEADS, replace_position=True))
    memory = Memory(torch.randn(B, 3, 5, DIM, dtype=torch.float64))
    refined = step(asked, DecoderContext({}, {"prompt": memory}))
    part = GROUPS["prompt"]
    assert (refined.position[:, part] == refined.content[:, part]).all()
    rest = [i for i in range(9) if not part.start <= i < part.stop]
    assert (refined.position[:, rest] == asked.position.expand(B, -1, -1, -1)[:, rest]).all()


def test_groups_have_memories_of_their_own() -> None:
    asked = queries()
    step = randomise(PromptCrossAttention(DIM, HEADS, groups=("grounding", "prompt", "absent")))
    memories = {
        "prompt": Memory(torch.randn(B, 3, 5, DIM, dtype=torch.float64)),
        "grounding": Memory(torch.randn(B, 2, T, 7, DIM, dtype=torch.float64)),
    }
    refined = step(asked, DecoderContext({}, memories))
    for name in memories:
        alone = randomise(PromptCrossAttention(DIM, HEADS, groups=(name,)))
        want = alone(asked, DecoderContext({}, memories)).group(name)
        torch.testing.assert_close(refined.group(name), want)


def test_wrong_memories_are_refused() -> None:
    step = PromptCrossAttention(DIM, HEADS).double()
    with pytest.raises(ValueError, match="must have a memory 'prompt', got"):
        step(queries(), DecoderContext({}))
    with pytest.raises(ValueError, match=r"must be \(2, 3, L, 16\) or \(2, 3, 3, L, 16\), got"):
        step(queries(), DecoderContext({}, {"prompt": Memory(torch.zeros(B, 5, 5, DIM))}))
    clip = Queries(torch.zeros(1, 9, DIM), torch.zeros(1, 9, DIM), GROUPS)
    with pytest.raises(ValueError, match=r"must be \(B, Q, T, C\), got"):
        step(clip, DecoderContext({}))


def allowed(mode: str) -> Tensor:
    """The square of (query, frame) pairs, True = attend."""
    group = torch.tensor([0] * 4 + [1] * 3 + [2] * 2).repeat_interleave(T)
    query = torch.arange(9).repeat_interleave(T)
    same = query[:, None] == query
    learnable = (group[:, None] == 0) & (group == 0)
    prompts = (group[:, None] == 1) & (group == 1)
    if mode == "sep-l2p":
        prompts = (group[:, None] == 1) & torch.ones_like(same)
    if mode == "sep-blocked":
        prompts = same & (group[:, None] == 1)
    return learnable | prompts | (same & (group[:, None] == 2))


@pytest.mark.parametrize("mode", ["sep", "sep-blocked", "sep-l2p"])
def test_separate_calls_equal_one_masked_square(mode: str) -> None:
    asked = queries()
    step = randomise(SeparatedSelfAttention(DIM, HEADS, mode=mode))
    flat = asked.content.flatten(1, 2)
    placed = (asked.content + asked.position).flatten(1, 2)
    attended = official(step)(placed, placed, flat, attn_mask=~allowed(mode))[0]
    want = step.norm(flat + attended).unflatten(1, (9, T))
    torch.testing.assert_close(step(asked, DecoderContext({})).content, want)


@pytest.mark.parametrize("mode", ["sep", "sep-blocked", "sep-l2p"])
def test_learnable_queries_do_not_see_prompts(mode: str) -> None:
    step = randomise(SeparatedSelfAttention(DIM, HEADS, mode=mode)).float()
    asked = queries()
    asked = Queries(asked.content.float(), asked.position.float(), GROUPS)
    other = asked.content.clone()
    other[:, 4:] = torch.randn(B, 5, T, DIM)
    context = DecoderContext({})
    one, two = step(asked, context), step(asked.with_content(other), context)
    assert (one.group("learnable") == two.group("learnable")).all()
    alone = Queries(asked.content[:, :4], asked.position[:, :4], {"learnable": slice(0, 4)})
    torch.testing.assert_close(
        step(alone, context).content, one.group("learnable"), rtol=0, atol=1e-5
    )


def test_streams_that_cannot_be_told_apart_are_refused() -> None:
    content = torch.zeros(1, 4, T, DIM)
    step = SeparatedSelfAttention(DIM, HEADS)
    late = Queries(content, content, {"prompt": slice(0, 2), "learnable": slice(2, 4)})
    with pytest.raises(ValueError, match="those of 'learnable' first"):
        step(late, DecoderContext({}))
    groups = {"learnable": slice(0, 1), "grounding": slice(1, 2), "prompt": slice(2, 4)}
    with pytest.raises(ValueError, match="must come last"):
        step(Queries(content, content, groups), DecoderContext({}))
    with pytest.raises(ValueError, match="mode must be one of"):
        SeparatedSelfAttention(DIM, HEADS, mode="all")
