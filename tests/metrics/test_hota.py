"""HOTA by hand, and against TrackEval's own reading of BURST files."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segblocks.data.sample import ObjectInfo
from segblocks.metrics import HOTA
from segblocks.ops.rle import encode, to_coco
from segblocks.text import burst_classes
from segblocks.text.vocabulary import Vocabulary
from tests.metrics.videos import STREET, annotated_video, blobs, followed, predicted_video

SHAPE = (6, 16, 20)
#: Two common classes, an uncommon one, one that is not judged, and one that counts as a cup (347).
TAO = Vocabulary("tao", ("person", "cup", "acorn", "barge", "shopping_bag", "cap"), None)
CATEGORY_IDS = (805, 347, 1, 20, 967, 207)


def test_a_track_that_changes_its_id_halves_the_association() -> None:
    mask = np.zeros((4, 6, 6), dtype=bool)
    mask[:, :3] = True
    first, second = mask.copy(), mask.copy()
    first[2:] = second[:2] = False
    metric = HOTA()
    metric.update(annotated_video({1: mask}), predicted_video({1: first, 2: second}))
    result = metric.compute()
    assert result["DetA"] == result["LocA"] == 1
    assert result["AssA"] == pytest.approx(0.5)
    assert result["HOTA"] == pytest.approx(math.sqrt(0.5))


def test_overlap_decides_up_to_its_threshold() -> None:
    """IoU 1/2 matches at 0.05 to 0.50: 10 of 19 thresholds."""
    mask = np.zeros((2, 4, 4), dtype=bool)
    mask[:, :2] = True
    half = mask.copy()
    half[:, 1] = False
    metric = HOTA()
    metric.update(annotated_video({1: mask}), predicted_video({1: half}))
    result = metric.compute()
    assert result["HOTA"] == result["DetA"] == pytest.approx(10 / 19)


def test_classes_weigh_the_same_and_wrong_classes_do_not_match() -> None:
    mask = np.ones((3, 4, 4), dtype=bool)
    metric = HOTA()
    objects = [ObjectInfo(1, 2), ObjectInfo(2, 3), ObjectInfo(3, 3)]
    truth = annotated_video(dict.fromkeys((1, 2, 3), mask), objects=objects)
    # The track of class 0 has no object anywhere, and does not count.
    metric.update(truth, predicted_video({1: mask, 2: mask}, labels={1: 2, 2: 0}))
    assert metric.compute()["HOTA"] == pytest.approx(1 / 2)
    assert metric.compute()["DetRe"] == pytest.approx(1 / 2)


def test_with_hints_ids_say_the_class() -> None:
    mask = np.ones((3, 4, 4), dtype=bool)
    metric = HOTA()
    objects = [ObjectInfo(1, 2), ObjectInfo(7, 3), ObjectInfo(8, 3, is_crowd=True)]
    truth = annotated_video(dict.fromkeys((1, 7, 8), mask), objects=objects)
    metric.update(truth, followed({1: mask, 7: mask, 9: mask, 8: mask}))
    assert metric.compute()["HOTA"] == 1


def test_without_classes_all_are_one() -> None:
    mask = np.ones((3, 4, 4), dtype=bool)
    objects = [ObjectInfo(1), ObjectInfo(2)]
    truth = annotated_video({1: mask, 2: ~mask | mask}, objects=objects, vocabulary=None)
    metric = HOTA()
    metric.update(truth, predicted_video({5: mask, 6: mask}))
    assert metric.compute()["HOTA"] == 1
    other = HOTA()
    other.update(truth, followed({1: mask, 2: mask}))
    assert other.compute()["HOTA"] == 1


def test_groups() -> None:
    mask = np.ones((3, 4, 4), dtype=bool)
    truth = annotated_video({1: mask, 2: mask}, objects=[ObjectInfo(1, 2), ObjectInfo(2, 3)])
    metric = HOTA(common=[STREET.category_id(2)])
    metric.update(truth, predicted_video({1: mask}))
    result = metric.compute()
    assert (result["HOTA"], result["HOTA_common"], result["HOTA_uncommon"]) == (0.5, 1.0, 0.0)


def burst_video(
    seed: int,
) -> tuple[dict[int, NDArray[np.bool_]], dict[int, NDArray[np.bool_]], Any]:
    rng = np.random.default_rng(seed)
    masks = blobs(rng, (1, 2, 3, 4), SHAPE)
    found = {i: m ^ (rng.random(SHAPE) < 0.1) for i, m in masks.items()}
    for mask in found.values():
        mask[int(rng.integers(SHAPE[0]))] = False
    found[2], found[3] = np.roll(found[3], 1, axis=2), found[2]
    return masks, found, rng.integers(0, len(CATEGORY_IDS), 4)


def burst_sequence(
    name: str, number: int, masks: dict[int, NDArray[np.bool_]], labels: Any
) -> dict[str, Any]:
    frames = [
        {
            str(i): {"rle": to_coco(encode(m[t]))["counts"], "is_gt": False}
            for i, m in masks.items()
            if m[t].any()
        }
        for t in range(SHAPE[0])
    ]
    return {
        "id": number,
        "dataset": "toy",
        "seq_name": name,
        "width": SHAPE[2],
        "height": SHAPE[1],
        "fps": 1,
        "annotated_image_paths": [f"{t:05d}.jpg" for t in range(SHAPE[0])],
        "track_category_ids": {str(i): CATEGORY_IDS[labels[i - 1]] for i in masks},
        "segmentations": frames,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
    }


def trackeval_hota(folder: Path, truth: list[Any], found: list[Any]) -> dict[str, float]:
    """What TrackEval makes of the files; class by class, as BURST averages them."""
    import trackeval

    data = folder / "trackers" / "ours" / "data"
    data.mkdir(parents=True)
    (folder / "gt").mkdir()
    for path, sequences in ((folder / "gt" / "all.json", truth), (data / "ours.json", found)):
        path.write_text(json.dumps({"split": "val", "sequences": sequences}))
    config = trackeval.datasets.BURST.get_default_dataset_config() | {
        "GT_FOLDER": str(folder / "gt"),
        "TRACKERS_FOLDER": str(folder / "trackers"),
        "EXEMPLAR_GUIDED": True,
        "PRINT_CONFIG": False,
    }
    hota = trackeval.metrics.HOTA()
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.BURST(config)
        numbers = dataset.class_name_to_class_id
        scores = {}
        for name in dataset.class_list:
            results = {}
            for sequence in dataset.seq_list:
                raw = dataset.get_raw_seq_data("ours", sequence)
                results[sequence] = hota.eval_sequence(dataset.get_preprocessed_seq_data(raw, name))
            scores[numbers[name]] = float(hota.combine_sequences(results)["HOTA"].mean())
    common = [s for n, s in scores.items() if n in burst_classes.COMMON]
    others = [s for n, s in scores.items() if n not in burst_classes.COMMON]
    groups = {"HOTA": list(scores.values()), "HOTA_common": common, "HOTA_uncommon": others}
    return {name: float(np.mean(group)) for name, group in groups.items()}


def test_boxes_forgive_what_masks_do_not() -> None:
    mask = np.zeros((2, 4, 4), dtype=bool)
    mask[:, :2] = True
    ends = mask.copy()
    ends[:, :, 1:3] = False
    for similarity, expected in (("mask", 10 / 19), ("box", 1.0)):
        metric = HOTA(similarity=similarity)  # type: ignore[arg-type]
        metric.update(annotated_video({1: mask}), predicted_video({1: ends}))
        assert metric.compute()["HOTA"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(2))
def test_burst_equals_trackeval_on_files(seed: int, tmp_path: Path) -> None:
    vocabulary = Vocabulary(TAO.name, TAO.classes, None, CATEGORY_IDS)
    metric = HOTA.burst()
    truth, predictions = [], []
    for number in range(4):
        masks, found, labels = burst_video(10 * seed + number)
        objects = [ObjectInfo(i, int(labels[i - 1])) for i in masks]
        name = f"v{number}"
        truth.append(burst_sequence(name, number, masks, labels))
        predictions.append(burst_sequence(name, number, found, labels))
        video = annotated_video(masks, name=name, objects=objects, vocabulary=vocabulary)
        metric.update(video, followed(found))
    expected = trackeval_hota(tmp_path, truth, predictions)
    result = metric.compute()
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert 0.03 < result["HOTA"] < 0.95
