"""The decoders of the guide that take the taxonomy in, run and judged as they stand there."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.nn import Decoder, PredictAs, TaxonomyInjection

DIM, CLASSES, TEXT, QUERIES = 32, 6, 8, 5
SIZES = {"dim": DIM, "classes": CLASSES, "text_dim": TEXT, "queries": QUERIES, "norm": "pre"}


@functools.cache
def guide() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "docs" / "tmt_vis.md"
    section = path.read_text().partition("## In other decoders")[2]
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL):
        exec(compile(code, str(path), "exec"), names)
    return names


def make(name: str) -> Any:
    torch.manual_seed(0)
    return guide()[name](**SIZES)


def features(clips: int = 2, frames: int = 3, seed: int = 0) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        s: torch.randn(clips, frames, DIM, 64 // s, 96 // s, generator=generator)
        for s in (4, 8, 16, 32)
    }


def text() -> Tensor:
    return torch.randn(CLASSES, TEXT, generator=torch.Generator().manual_seed(1))


def without_taxonomy(decoder: Decoder) -> Decoder:
    """The same decoder, its injections left out."""
    kept = [s for s in decoder.steps if not isinstance(s, TaxonomyInjection | PredictAs)]
    plain = Decoder(kept, DIM, strides=decoder.strides)
    plain.level_embedding = decoder.level_embedding
    return plain


def silence(module: Any) -> None:
    for step in module.modules():
        if isinstance(step, TaxonomyInjection):
            step.start_as_identity()


@torch.no_grad()
def test_object_tokens_read_by_queries_of_the_clip() -> None:
    model = make("ObjectTokenDecoder")
    found = model(features(), text())
    assert found[-1].mask_embeddings.shape == (2, QUERIES, DIM)
    assert found[-1].class_logits.shape == (2, QUERIES, CLASSES + 1)
    assert [p.name for p in found] == ["prediction", *["taxonomy", "prediction"] * 3]
    alone = model({s: f[1:] for s, f in features().items()}, text())
    torch.testing.assert_close(alone[-1].class_logits[0], found[-1].class_logits[1])


@torch.no_grad()
@pytest.mark.parametrize("name", ["ObjectTokenDecoder", "OnlineMatcher"])
def test_the_taxonomy_matters_until_its_projections_are_zero(name: str) -> None:
    part = "clip" if name == "ObjectTokenDecoder" else "decoder"
    model = make(name)
    video = features(1, 1 if name == "OnlineMatcher" else 3)
    pick = (lambda found: found[0]) if name == "OnlineMatcher" else (lambda found: found[-1])
    full = pick(model(video, text())).class_logits
    silence(model)
    silent = pick(model(video, text())).class_logits
    setattr(model, part, without_taxonomy(getattr(model, part)))
    plain = pick(model(video, text())).class_logits
    assert torch.equal(silent, plain)
    assert (full - plain).abs().max() > 1e-3


@torch.no_grad()
def test_queries_of_a_frame_are_matched_with_those_before() -> None:
    model = make("OnlineMatcher")
    first, second = features(1, 1), features(1, 1, seed=1)
    _, order, before = model(first, text())
    assert order.tolist() == list(range(QUERIES))
    _, order, same = model(first, text(), before)
    assert order.tolist() == list(range(QUERIES))
    torch.testing.assert_close(same, before)
    turn = torch.tensor([3, 0, 4, 1, 2])
    _, order, turned = model(first, text(), before[turn])
    assert torch.equal(order, turn)
    torch.testing.assert_close(turned, before[turn])
    _, straight, _ = model(second, text(), before)
    _, order, _ = model(second, text(), before[turn])
    assert torch.equal(order, straight[turn])


@pytest.mark.parametrize("name", ["ObjectTokenDecoder", "OnlineMatcher"])
def test_the_composition_learns(name: str) -> None:
    model, online = make(name), name == "OnlineMatcher"
    found = model(features(1, 1 if online else 2), text())
    prediction = found[0] if online else found[-1]
    (prediction.class_logits.square().sum() + prediction.mask_embeddings.square().sum()).backward()
    # What is left: the heads of frames, whose predictions only guide attention here, and the score.
    without = [n for n, p in model.named_parameters() if p.grad is None and p.numel()]
    assert all(n.startswith(("frames.blocks.0", "compiler.score")) for n in without)
    assert model.compiler.adapter[0].weight.grad.abs().max() > 0
