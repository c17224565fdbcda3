"""Results over their frames."""

from __future__ import annotations

import numpy as np

from segblocks.ops.label_map import label_map_from_masks
from segblocks.viz import draw_result, overlay, track_label_map
from tests.inference.results_by_hand import FRAMES, MASKS, vis_result, vos_result, vps_result


def test_higher_scores_are_on_top() -> None:
    result = vis_result()
    for t in range(result.num_frames):
        expected = label_map_from_masks(np.stack([MASKS[2][t], MASKS[1][t]]), [2, 1])
        np.testing.assert_array_equal(track_label_map(result, t), expected)


def test_tracks_are_drawn_with_label_id_and_score() -> None:
    drawn = draw_result(vis_result(), 0, FRAMES[0])
    texts = {1: "car 1 0.90", 2: "car 2 0.60"}
    expected = overlay(FRAMES[0], track_label_map(vis_result(), 0), texts=texts)
    np.testing.assert_array_equal(drawn, expected)


def test_what_has_neither_label_nor_score_is_drawn_with_its_id() -> None:
    labels = track_label_map(vos_result(), 1)
    expected = overlay(FRAMES[1], labels, texts={1: "1", 2: "2"})
    np.testing.assert_array_equal(draw_result(vos_result(), 1, FRAMES[1]), expected)


def test_panoptic_results_show_stuff_too() -> None:
    result = vps_result()
    texts = {1: "road", 4: "car 1 0.70", 5: "person 2 0.80"}
    expected = overlay(FRAMES[0], result.panoptic(0).ids, texts=texts)
    np.testing.assert_array_equal(draw_result(result, 0, FRAMES[0]), expected)
