"""Submission formats, against masks and ids known by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from segblocks.inference.formats import (
    burst_sequence,
    kitti_step_picture,
    segments_info,
    youtube_vis_records,
)
from segblocks.ops.rle import decode, from_coco
from segblocks.panoptic import Panoptic, Segment
from segblocks.results import TrackSummary
from segblocks.tasks import VIS
from segblocks.text.vocabulary import get_vocabulary
from tests.inference.results_by_hand import (
    EMPTY,
    MASKS,
    SIZE,
    STREET,
    build,
    pet_result,
    vis_result,
    vos_result,
    vps_result,
)


def mask_of(record: dict | None) -> np.ndarray:
    return EMPTY if record is None else decode(from_coco(record))


def test_vis_candidates_are_pairs_of_track_and_class() -> None:
    records = youtube_vis_records(vis_result(), 5, top_k=4)
    found = [(r["score"], r["category_id"]) for r in records]
    assert found == [(0.9, 26), (0.6, 26), (0.4, 24), (0.1, 24)]
    assert {r["video_id"] for r in records} == {5}
    assert len(youtube_vis_records(vis_result(), top_k=3)) == 3
    json.dumps(records, allow_nan=False)


def test_vis_masks_of_one_class_share_no_pixel_and_the_higher_score_wins() -> None:
    records = youtube_vis_records(vis_result(), top_k=4)
    masks = [[mask_of(s) for s in record["segmentations"]] for record in records]
    first, second = MASKS[1], MASKS[2]
    for t in range(3):
        np.testing.assert_array_equal(masks[0][t], first[t])
        np.testing.assert_array_equal(masks[1][t], second[t] & ~first[t])
        # Of the other class, the second track has the higher score.
        np.testing.assert_array_equal(masks[2][t], second[t])
        np.testing.assert_array_equal(masks[3][t], first[t] & ~second[t])
    assert (first[0] & second[0]).any()
    assert records[1]["segmentations"][2] is None


def test_vis_candidates_without_a_pixel_are_left_out() -> None:
    hidden = {1: MASKS[1], 2: MASKS[1]}
    summaries = (TrackSummary(1, 1, 0.9), TrackSummary(2, 1, 0.6))
    result = build(VIS(STREET), STREET, summaries, masks=hidden)
    assert [r["score"] for r in youtube_vis_records(result)] == [0.9]


@pytest.mark.parametrize(("name", "expected"), [("ovis", 20), ("youtube_vis_2021", 10)])
def test_vis_number_of_records_by_vocabulary(name: str, expected: int) -> None:
    vocabulary = get_vocabulary(name)
    scores = np.linspace(0.5, 0.1, len(vocabulary))
    summaries = (TrackSummary(1, 0, 0.5, scores), TrackSummary(2, 0, 0.4, scores - 0.05))
    result = build(VIS(vocabulary), vocabulary, summaries)
    records = youtube_vis_records(result)
    assert len(records) == expected
    scores = [r["score"] for r in records]
    assert scores == sorted(scores, reverse=True)


def test_vis_without_class_scores_uses_the_label() -> None:
    result = vis_result()
    bare = replace(result, tracks=tuple(replace(t, class_scores=None) for t in result.tracks))
    records = youtube_vis_records(bare)
    assert [(r["score"], r["category_id"]) for r in records] == [(0.9, 26), (0.6, 26)]


def test_vis_needs_classes() -> None:
    with pytest.raises(ValueError, match="no classes"):
        youtube_vis_records(vos_result())


def test_segments_info_describes_the_picture() -> None:
    result = vps_result()
    panoptic = result.panoptic(0)
    info = {record["id"]: record for record in segments_info(panoptic, STREET)}
    assert set(info) == set(np.unique(panoptic.ids).tolist()) - {0}
    assert [info[i]["category_id"] for i in (1, 4, 5)] == [7, 26, 24]
    for number, record in info.items():
        mask = panoptic.ids == number
        x, y, width, height = record["bbox"]
        assert record["area"] == mask.sum()
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
        assert mask[y].any()
        assert mask[y + height - 1].any()
        assert mask[:, x].any()
        assert mask[:, x + width - 1].any()
    json.dumps(list(info.values()))


def test_kitti_step_channels() -> None:
    vocabulary = get_vocabulary("kitti_step")
    panoptic = vps_result("kitti_step").panoptic(0)
    picture = kitti_step_picture(panoptic, vocabulary)
    person, car = MASKS[2][0], MASKS[1][0] & ~MASKS[2][0]
    assert (picture[person] == (11, 0, 2)).all()
    assert (picture[car] == (13, 0, 1)).all()
    rest = ~(person | car)
    assert (picture[rest & (panoptic.ids == 0)] == (255, 0, 0)).all()
    assert (picture[rest & (panoptic.ids > 0)] == (0, 0, 0)).all()


def test_kitti_step_splits_high_track_ids() -> None:
    vocabulary = get_vocabulary("kitti_step")

    def picture(track: int) -> np.ndarray:
        segment = Segment(track + 19, "car", True, 0.5, track)
        return kitti_step_picture(
            Panoptic(np.full((1, 1), track + 19, np.int32), [segment]), vocabulary
        )

    assert picture(1000)[0, 0].tolist() == [13, 3, 232]
    with pytest.raises(ValueError, match="65535"):
        picture(65536)


def test_burst_sequence() -> None:
    sequence = burst_sequence(pet_result(), "street", fps=12)
    assert (sequence["height"], sequence["width"], sequence["fps"]) == (*SIZE, 12)
    assert sequence["track_category_ids"] == {"2": 1, "1": 1}
    for t, frame in enumerate(sequence["segmentations"]):
        assert set(frame) == {str(i) for i, masks in MASKS.items() if masks[t].any()}
        for number, record in frame.items():
            mask = decode(from_coco({"size": SIZE, "counts": record["rle"]}))
            np.testing.assert_array_equal(mask, MASKS[int(number)][t])
            assert record["is_gt"] is False
    assert len(sequence["annotated_image_paths"]) == 3
    json.dumps(sequence)
