"""Classes by cosine, and masks of expressions that lean on what is detected."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from segblocks.nn import (
    CosineClassHead,
    DecoderContext,
    GroundedMaskEmbedding,
    Memory,
    PredictByText,
    Queries,
    mask_logits,
    mlp,
)

GROUPS = {"learnable": slice(0, 4), "prompt": slice(4, 7), "grounding": slice(5, 7)}


def test_class_logits_are_the_mean_cosine_times_the_temperature() -> None:
    head = CosineClassHead(8, 6)
    queries, classes = torch.randn(1, 2, 3, 8), 5 * torch.randn(4, 6)
    logits = head(queries, classes)
    for q in range(2):
        for k in range(4):
            cosines = [
                torch.cosine_similarity(head.projection(queries[0, q, t]), classes[k], dim=0)
                for t in range(3)
            ]
            want = sum(cosines) / 3 / 0.07
            torch.testing.assert_close(logits[0, q, k], want)
    assert math.isclose(head.log_temperature.exp().item(), 1 / 0.07, rel_tol=1e-6)
    torch.testing.assert_close(head(queries, 7 * classes), logits)
    plain = head.match(queries, classes)
    torch.testing.assert_close(plain, head.projection(queries).mean(2) @ classes.T)


def test_an_expression_takes_the_mean_of_both_masks() -> None:
    torch.manual_seed(0)
    head = GroundedMaskEmbedding(mlp(8, 8)).eval()
    queries, features = torch.randn(2, 7, 3, 8), torch.randn(2, 3, 8, 4, 5)
    grounded = mask_logits(head(queries, GROUPS), features)
    plain = mask_logits(head.embedding(queries), features)
    assert (grounded[:, :5] == plain[:, :5]).all()
    for b in range(2):
        for e in (5, 6):
            similarity = [
                torch.cosine_similarity(queries[b, e], queries[b, q], dim=-1).mean()
                for q in range(4)
            ]
            best = int(torch.stack(similarity).argmax())
            want = (plain[b, e] + plain[b, best]) / 2
            torch.testing.assert_close(grounded[b, e], want, rtol=1e-4, atol=1e-5)
    off = GroundedMaskEmbedding(head.embedding, average=False).eval()
    assert (off(queries, GROUPS) == head.embedding(queries)).all()


def test_training_permutes_time_for_all_queries_alike_and_averages_nothing() -> None:
    head = GroundedMaskEmbedding(nn.Identity())
    queries = torch.randn(1, 7, 4, 8)
    torch.manual_seed(3)
    order = torch.randperm(4)
    torch.manual_seed(3)
    assert (head(queries, GROUPS) == queries[:, :, order]).all()
    still = GroundedMaskEmbedding(nn.Identity(), permute_time=False)
    assert (still(queries, GROUPS) == queries).all()


@pytest.mark.parametrize("classes", [None, 9])
def test_classes_are_those_of_the_context(classes: int | None) -> None:
    predict = PredictByText(
        nn.LayerNorm(8), GroundedMaskEmbedding(mlp(8, 8)), CosineClassHead(8, 6)
    )
    content = torch.randn(2, 7, 3, 8)
    memory = {} if classes is None else {"classes": Memory(torch.randn(1, classes, 6))}
    context = DecoderContext({}, memory)
    queries = Queries(content, content, GROUPS)
    assert predict(queries, context) is queries
    assert context.prediction is not None
    logits = context.prediction.class_logits
    assert (None if logits is None else logits.shape) == (classes and (2, 7, classes))
