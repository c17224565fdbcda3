"""Rules by which detections are kept, dropped and paired."""

from __future__ import annotations

import torch

from segblocks.tracking.detection import (
    assign,
    bi_softmax,
    box_iou,
    drop_repeated,
    frame_iou,
    mask_boxes,
    mask_quality,
    share_pixels,
)


def boxed(y0: int, y1: int, x0: int, x1: int) -> torch.Tensor:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_boxes_hold_their_last_row_and_column() -> None:
    masks = torch.stack([boxed(1, 4, 2, 6), boxed(0, 0, 0, 0), boxed(7, 8, 7, 8)])
    assert mask_boxes(masks).tolist() == [[2, 1, 5, 3], [0, 0, 0, 0], [7, 7, 7, 7]]


def test_box_iou() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 0, 0]])
    iou = box_iou(boxes)
    torch.testing.assert_close(iou[0, 1], torch.tensor(4 / 28))
    assert (iou[2] == 0).all()


def test_a_mask_goes_even_where_the_better_one_went_itself() -> None:
    # b is like a, c is like b and not like a: both go.
    rows = [boxed(0, 8, 0, 6), boxed(0, 8, 1, 7), boxed(0, 8, 2, 8)]
    masks = torch.stack(rows)[:, None]
    iou = box_iou(mask_boxes(masks[:, 0]))
    assert iou[0, 1] == iou[1, 2] > 0.6 > iou[0, 2]
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert drop_repeated(masks, scores, 0.6).tolist() == [0]
    assert drop_repeated(masks, scores.flip(0), 0.95).tolist() == [2, 1, 0]
    assert drop_repeated(masks[:0], scores[:0], 0.6).tolist() == []


def test_one_frame_is_enough_to_be_the_same() -> None:
    a = torch.stack([boxed(0, 4, 0, 4), boxed(0, 4, 0, 4)])
    b = torch.stack([boxed(4, 8, 4, 8), boxed(0, 4, 0, 4)])
    masks = torch.stack([a, b])
    assert drop_repeated(masks, torch.tensor([0.5, 0.6]), 0.9).tolist() == [1]
    assert frame_iou(a[None], b[None]).item() == 1
    assert frame_iou(a[None, :1], b[None, :1]).item() == 0


def test_bi_softmax_is_the_mean_of_both_directions_over_frames() -> None:
    torch.manual_seed(0)
    found, known = torch.randn(3, 2, 4), torch.randn(2, 3, 4)
    want = torch.zeros(3, 2)
    for t in range(2):
        for v in range(3):
            dots = found[:, t] @ known[:, v].T
            want += (dots.softmax(0) + dots.softmax(1)) / 2 / 6
    torch.testing.assert_close(bi_softmax(found, known), want)
    assert bi_softmax(found, known[:0]).shape == (3, 0)
    assert bi_softmax(found[:0], known).shape == (0, 2)


def test_assignment_maximises_the_sum_of_what_is_similar_enough() -> None:
    similarity = torch.tensor([[0.9, 0.8], [0.7, 0.05]])
    assert assign(similarity, 0.1) == {0: 1, 1: 0}
    assert assign(torch.zeros(2, 0), 0.1) == {}
    assert assign(torch.zeros(2, 2), 0.1) == {}


def test_quality_is_the_share_of_decided_pixels() -> None:
    logits = torch.tensor([[[2.0, 0.0]], [[-5.0, -5.0]]])
    assert mask_quality(logits).tolist() == [0.5, 0]


def test_pixels_go_to_the_greatest_weighted_probability() -> None:
    logits = torch.tensor([[[[1.0, 1.0, -1.0]]], [[[2.0, -2.0, -1.0]]]])
    shared, kept = share_pixels(logits, torch.tensor([1.0, 1.0]), 0.25)
    assert shared[:, 0, 0].tolist() == [[0, 1, -1], [2, -2, -1]]
    assert kept.tolist() == [True, True]
    shared, kept = share_pixels(logits, torch.tensor([1.0, 0.1]), 0.25)
    assert shared[:, 0, 0].tolist() == [[1, 1, -1], [0, -2, -1]]
    assert kept.tolist() == [True, False]
    empty, none = share_pixels(logits[:0], torch.zeros(0), 0.25)
    assert empty.shape == (0, 1, 1, 3)
    assert none.shape == (0,)
