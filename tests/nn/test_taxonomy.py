"""The taxonomy compiler against the paper's equations, written out with loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segblocks.losses import presence_loss
from segblocks.nn import TaxonomyCompiler, sine_position_3d

DIM, HEADS, TEXT, CLASSES = 16, 4, 12, 7


def compiler(**kwargs: object) -> TaxonomyCompiler:
    torch.manual_seed(0)
    options = {"strides": (32, 16), "num_selected": 3, "hidden_dim": 24, **kwargs}
    return TaxonomyCompiler(TEXT, DIM, HEADS, **options).double()


def clip(batch: int = 3, frames: int = 2) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        s: 4 * torch.randn(batch, frames, DIM, 64 // s, 96 // s, generator=generator).double()
        for s in (32, 16)
    }


def names(count: int = CLASSES) -> Tensor:
    return torch.randn(count, TEXT, generator=torch.Generator().manual_seed(2)).double()


def attend(module: nn.Module, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query (C,) over keys (n, C)."""
    q, k, v = module.query(query), module.key(keys), module.value(values)
    split = DIM // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * split, (head + 1) * split)
        weights = (k[:, part] @ q[part] / math.sqrt(split)).softmax(0)
        heads.append(weights @ v[:, part])
    return module.output(torch.cat(heads))


def equations(module: TaxonomyCompiler, text: Tensor, features: dict[int, Tensor]) -> tuple:
    """Equations 2 to 5 for one clip (T, C, h, w): E1, E3 and the score before its sigmoid."""
    first, second = module.adapter[0], module.adapter[2]
    rows, scores, adapted = [], [], []
    for row in text:
        e1 = second.weight @ (first.weight @ row + first.bias).clamp(min=0) + second.bias
        e = e1
        for stride, layer in zip((32, 16), module.layers, strict=True):
            frames, _, height, width = features[stride].shape
            at = sine_position_3d(frames, height, width, DIM, dtype=torch.float64)
            pixels = [
                (features[stride][t, :, y, x], at[t, y, x])
                for t in range(frames)
                for y in range(height)
                for x in range(width)
            ]
            values = torch.stack([value for value, _ in pixels])
            keys = torch.stack([value + place for value, place in pixels])
            e = layer.norm(e + attend(layer.attention, e, keys, values))
            block = layer.feed_forward
            e = block.norm(e + block.layers[2](block.layers[0](e).clamp(min=0)))
        rows.append(e)
        adapted.append(e1)
        scores.append((module.score.weight @ e + module.score.bias) @ e1 / math.sqrt(DIM))
    return torch.stack(adapted), torch.stack(rows), torch.stack(scores)


@torch.no_grad()
def test_it_computes_the_equations_of_the_paper() -> None:
    module, features, text = compiler(), clip(), names()
    taxonomy = module(text, features)
    for b in range(3):
        _, rows, scores = equations(module, text, {s: f[b] for s, f in features.items()})
        torch.testing.assert_close(taxonomy.logits[b], scores, atol=1e-10, rtol=0)
        best = sorted(range(CLASSES), key=lambda k: (-float(scores[k]), k))[:3]
        assert taxonomy.indices[b].tolist() == best
        torch.testing.assert_close(taxonomy.tokens[b], rows[best], atol=1e-10, rtol=0)
    assert taxonomy.mask is None
    assert len({tuple(row) for row in taxonomy.indices.tolist()}) > 1  # the clips do differ


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix() -> None:
    module, features, text = compiler(), clip(), names()
    together = module(text, features)
    for b in range(3):
        alone = module(text, {s: f[b : b + 1] for s, f in features.items()})
        torch.testing.assert_close(alone.tokens[0], together.tokens[b], atol=1e-12, rtol=0)
        torch.testing.assert_close(alone.logits[0], together.logits[b], atol=1e-12, rtol=0)


@torch.no_grad()
def test_permuting_the_classes_permutes_the_result() -> None:
    module, features, text = compiler(), clip(), names()
    order = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(3))
    before, after = module(text, features), module(text[order], features)
    torch.testing.assert_close(after.logits, before.logits[:, order], atol=1e-12, rtol=0)
    torch.testing.assert_close(order[after.indices], before.indices)
    torch.testing.assert_close(after.tokens, before.tokens, atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_mask_is_the_same_as_asking_for_fewer_classes() -> None:
    module, features, text = compiler(), clip(), names()
    known = torch.tensor([True, False, True, True, False, True, True])
    rows = known.nonzero().flatten()
    masked, fewer = module(text, features, known), module(text[known], features)
    assert torch.equal(masked.indices, rows[fewer.indices])
    torch.testing.assert_close(masked.tokens, fewer.tokens, atol=1e-12, rtol=0)
    torch.testing.assert_close(masked.logits[:, known], fewer.logits, atol=1e-12, rtol=0)
    assert (masked.logits[:, ~known] == -torch.inf).all()
    assert masked.mask.all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=2, max_size=2))
@torch.no_grad()
def test_only_known_classes_are_selected_and_none_twice(known: list[list[bool]]) -> None:
    taxonomy = compiler()(names(5), clip(batch=2), torch.tensor(known))
    for b, row in enumerate(known):
        chosen = [i for i in taxonomy.indices[b].tolist() if i >= 0]
        assert all(row[i] for i in chosen)
        assert len(set(chosen)) == len(chosen) == min(3, sum(row))
        assert taxonomy.mask[b].tolist() == [n < len(chosen) for n in range(3)]
        assert not taxonomy.tokens[b, len(chosen) :].any()


@torch.no_grad()
def test_fewer_classes_than_are_to_be_selected() -> None:
    taxonomy = compiler(num_selected=10)(names(4), clip(batch=2))
    assert taxonomy.tokens.shape == (2, 4, DIM)
    assert taxonomy.indices.sort().values.tolist() == [[0, 1, 2, 3]] * 2


@torch.no_grad()
def test_the_first_of_equal_scores_is_taken() -> None:
    module = compiler(num_selected=3)
    nn.init.zeros_(module.score.weight)
    nn.init.zeros_(module.score.bias)
    known = torch.tensor([[True] * 5, [False, True, False, True, True]])
    indices = module(names(5), clip(batch=2), known).indices
    assert indices.tolist() == [[0, 1, 2], [1, 3, 4]]


@torch.no_grad()
def test_half_precision_does_not_tie_the_scores() -> None:
    module = compiler().to(torch.bfloat16)
    features = {stride: level.bfloat16() for stride, level in clip(1).items()}
    logits = module(names(1000).bfloat16(), features).logits
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 1.5 * len(logits.bfloat16().unique())


def test_frames_are_told_apart_and_one_is_enough() -> None:
    module, text = compiler(), names()
    features = clip(batch=1, frames=3)
    turned = {s: f.flip(1) for s, f in features.items()}
    assert (module(text, features).logits - module(text, turned).logits).abs().max() > 1e-6
    assert module(text, clip(batch=1, frames=1)).tokens.shape == (1, 3, DIM)


def test_training_and_evaluation_are_the_same() -> None:
    module, features, text = compiler(), clip(), names()
    torch.testing.assert_close(module.train()(text, features), module.eval()(text, features))


def test_the_score_learns_from_the_presence_loss_alone() -> None:
    module, features = compiler(), clip()
    text = names().requires_grad_()
    taxonomy = module(text, features)
    taxonomy.tokens.square().sum().backward(retain_graph=True)
    assert module.score.weight.grad is None
    assert all(p.grad is not None for p in module.layers.parameters())
    unselected = [k for k in range(CLASSES) if not (taxonomy.indices == k).any()]
    assert unselected
    assert not text.grad[unselected].any()
    present = torch.zeros(3, CLASSES, dtype=torch.bool)
    presence_loss(taxonomy.logits, present).mean.backward()
    assert module.score.weight.grad.abs().max() > 0


def test_the_memory_of_a_decoder() -> None:
    taxonomy = compiler()(names(5), clip(batch=2), torch.tensor([[True] * 5, [True] + [False] * 4]))
    memory = taxonomy.memory(6)
    assert memory.mask.shape == (2, 6, 3)
    assert memory.mask[1].tolist() == [[True, False, False]] * 6
    assert compiler()(names(5), clip(batch=2)).memory(6).mask is None


def test_wrong_arguments_are_named() -> None:
    module = compiler()
    with pytest.raises(ValueError, match=r"text must be \(K, 12\), got \(7, 5\)"):
        module(torch.zeros(7, 5), clip())
    with pytest.raises(ValueError, match=r"features lack strides \[16\]"):
        module(names(), {32: clip()[32]})
    with pytest.raises(ValueError, match=r"known must be boolean \(7,\) or \(3, 7\), got \(2, 7\)"):
        module(names(), clip(), torch.ones(2, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="strides must name a level"):
        compiler(strides=())
    with pytest.raises(ValueError, match="num_selected be at least 1"):
        compiler(num_selected=0)
