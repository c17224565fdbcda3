"""Track AP against pycocotools on single frames, a loop over tracks, and cases by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.inference.formats import youtube_vis_records
from segblocks.metrics import COCO_AREAS, TrackAP
from segblocks.ops.rle import decode, from_coco
from segblocks.results import VideoSegmentation
from tests.metrics.videos import STREET, annotated_video, blobs, predicted_video

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def random_stills(seed: int, number: int) -> list[tuple[VideoSample, VideoSegmentation]]:
    rng = np.random.default_rng(seed)
    size = (120, 130)  # with areas of all three ranges
    pairs = []
    for index in range(number):
        num, found = rng.integers(0, 6), rng.integers(0, 9)
        masks = {i: m[:1] for i, m in blobs(rng, range(1, num + 1), (1, *size)).items() if m.any()}
        guesses = blobs(rng, range(1, found + 1), (1, *size))
        for i, mask in masks.items():
            if rng.random() < 0.9:
                guesses[20 + i] = mask ^ (rng.random(mask.shape) < rng.choice([0.0, 0.03, 0.15]))
        guesses = {i: m for i, m in guesses.items() if m.any()}
        objects = [
            ObjectInfo(i, int(rng.integers(4)), is_crowd=bool(rng.random() < 0.15)) for i in masks
        ]
        labels = {i: int(rng.integers(4)) for i in guesses}
        for obj in objects:
            if 20 + obj.id in labels and rng.random() < 0.8:
                labels[20 + obj.id] = int(obj.label or 0)
        # Ties in the score are broken by order, in both alike.
        scores = {i: float(np.round(rng.random(), 1)) for i in guesses}
        shape = (1, *size)
        empty = {99: np.zeros(shape, dtype=bool)}
        video = annotated_video(masks or empty, name=str(index), objects=objects)
        found_video = predicted_video(guesses, labels=labels, scores=scores, shape=shape)
        pairs.append((video, found_video))
    return pairs


def coco_stats(pairs: list[tuple[VideoSample, VideoSegmentation]]) -> dict[str, float]:
    """What pycocotools says of the same stills."""
    images, truths, found = [], [], []
    for image, (video, prediction) in enumerate(pairs, 1):
        images.append({"id": image, "height": video.size[0], "width": video.size[1]})
        annotation = video.read_truth(0)
        for obj in video.objects:
            mask = annotation.masks[annotation.ids.index(obj.id)]
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": image,
                    "category_id": obj.label,
                    "segmentation": rle,
                    "area": float(mask.sum()),
                    "iscrowd": int(obj.is_crowd),
                    "bbox": [0, 0, 1, 1],
                }
            )
        for track in prediction.tracks:
            assert track.label is not None
            rle = coco_mask.encode(np.asfortranarray(track.mask(0).astype(np.uint8)))
            label = STREET.index(track.label)
            entry = {"image_id": image, "category_id": label, "segmentation": rle}
            found.append(entry | {"score": track.score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        categories = [{"id": k} for k in range(4)]
        truth.dataset = {"images": images, "annotations": truths, "categories": categories}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_single_frames_equal_pycocotools(seed: int) -> None:
    pairs = random_stills(seed, 12)
    metric = TrackAP(area_ranges=COCO_AREAS)
    for pair in pairs:
        metric.update(*pair)
    expected = coco_stats(pairs)
    got = metric.compute()
    assert set(got) == set(NAMES)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=1e-12) if value > -1 else np.isnan(got[name])
    assert 0.01 < expected["AP"] < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_over_classes_is_the_whole(seed: int) -> None:
    metric = TrackAP(area_ranges=COCO_AREAS)
    pairs = random_stills(seed, 12)
    for pair in pairs:
        metric.update(*pair)
    of_class = metric.per_class()
    assert set(of_class) == {obj.label for video, _ in pairs for obj in video.objects}
    for name, whole in metric.compute().items():
        # A class may have no object of a size.
        values = [own[name] for own in of_class.values() if not np.isnan(own[name])]
        expected = np.mean(values) if values else np.nan
        assert whole == pytest.approx(expected, nan_ok=True), name


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_iou_and_area_are_those_of_whole_tracks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (5, 9, 11)
    masks, found = blobs(rng, (1, 2), shape), blobs(rng, (1, 2, 3), shape)
    annotated = [0, 1, 3]
    metric = TrackAP()
    metric.update(annotated_video(masks, annotated=annotated), predicted_video(found))
    entry = metric.state_dict()["videos"]["video"]["2"]
    shown = [m[annotated] for m in found.values() if m[annotated].any()]
    for i, mask in enumerate(shown):
        sizes = [m.sum() for m in mask if m.any()]
        assert entry["areas"][i] == sum(sizes) / len(sizes)
        for j, truth in enumerate(m[annotated] for m in masks.values()):
            union = (mask | truth).sum()
            assert entry["iou"][i][j] == (mask & truth).sum() / union
    assert len(entry["iou"]) == len(shown)


def test_by_hand() -> None:
    """Two objects: one track with IoU 0.6, one false track of a higher score, one object missed."""
    truth = np.zeros((2, 2, 10), dtype=bool)
    truth[:, 0] = True
    other = np.zeros_like(truth)
    other[:, 1, :5] = True
    found = np.zeros_like(truth)
    found[0, 0] = True
    found[1, 0, :2] = True  # 12 of 20 pixels
    wrong = np.zeros_like(truth)
    wrong[:, 1, 8:] = True
    metric = TrackAP()
    metric.update(
        annotated_video({1: truth, 2: other}),
        predicted_video({1: found, 2: wrong}, scores={1: 0.5, 2: 0.8}),
    )
    result = metric.compute()
    # At 0.5, 0.55 and 0.6: recall 1/2 at precision 1/2, at 51 of 101 recall points.
    assert result["AP50"] == pytest.approx(51 / 101 / 2)
    assert result["AP"] == pytest.approx(3 / 10 * 51 / 101 / 2)
    assert result["AP75"] == 0
    assert result["AR1"] == 0
    assert result["AR10"] == result["AR100"] == pytest.approx(0.3 * 0.5)
    assert result["APs"] == result["AP"]
    assert np.isnan(result["APl"])


@pytest.mark.parametrize(
    ("side", "name"), [(120, "s"), (128, "s"), (129, "m"), (200, "m"), (256, "m"), (257, "l")]
)
def test_areas_of_youtube_vis(side: int, name: str) -> None:
    """The mean over the frames that show the object decides, 128 and 256 squared."""
    mask = np.zeros((3, 300, 300), dtype=bool)
    mask[0, :side, :side] = True
    metric = TrackAP()
    metric.update(annotated_video({1: mask}), predicted_video({1: mask}))
    result = metric.compute()
    # An area on the border belongs to both sides.
    borders = {128: "sm", 256: "ml"}.get(side, name)
    for other in "sml":
        if other in borders:
            assert result[f"AP{other}"] == pytest.approx(1)
        else:
            assert np.isnan(result[f"AP{other}"])


def test_classes_without_objects_are_left_out_and_other_videos_count() -> None:
    mask = np.ones((1, 3, 3), dtype=bool)
    metric = TrackAP()
    metric.update(annotated_video({1: mask}, name="a"), predicted_video({1: mask}))
    before = metric.compute()
    # A track of a class that no object has changes nothing,
    metric.update(
        annotated_video({1: mask}, name="b"), predicted_video({1: mask, 2: mask}, labels={2: 3})
    )
    assert metric.compute() == pytest.approx(before, nan_ok=True)
    # but a better-scored one of a class that another video has is a false positive.
    other = annotated_video({1: mask}, name="c", objects=[ObjectInfo(1, 3)])
    wrong = {1: mask, 2: mask}
    metric.update(other, predicted_video(wrong, labels={1: 3, 2: 2}, scores={2: 0.95}))
    assert metric.compute()["AP"] < 1


@pytest.mark.parametrize("top_k", [1, 4, 10])
def test_class_scores_give_what_would_be_submitted(top_k: int) -> None:
    rng = np.random.default_rng(top_k)
    shape = (6, 20, 24)
    areas = {"s": (0.0, 60.0), "l": (60.0, 1e10)}
    raw = TrackAP(top_k=top_k, exclusive=True, area_ranges=areas)
    written = TrackAP(area_ranges=areas)
    for index in range(4):
        masks = blobs(rng, (1, 2, 3), shape)
        # Two objects of one class that overlap, so that one loses pixels to the other.
        objects = [ObjectInfo(i, 1 + i // 3) for i in masks]
        video = annotated_video(masks, name=str(index), objects=objects)
        found = {i: m ^ (rng.random(shape) < 0.05) for i, m in masks.items()}
        scores = {i: 0.3 * rng.random(4) + 0.7 * np.eye(4)[1 + i // 3] for i in found}
        result = predicted_video(found, class_scores=scores)
        raw.update(video, result)
        records = youtube_vis_records(result, top_k=top_k)
        tracks = {
            i: np.stack(
                [np.zeros(shape[1:], bool) if r is None else decode(from_coco(r)) for r in rles]
            )
            for i, rles in enumerate((r["segmentations"] for r in records), 1)
        }
        numbers = [STREET.category_ids.index(r["category_id"]) for r in records]  # type: ignore
        written.update(
            video,
            predicted_video(
                tracks,
                labels=dict(enumerate(numbers, 1)),
                scores=dict(enumerate((r["score"] for r in records), 1)),
            ),
        )
    assert repr(raw.compute()) == repr(written.compute())
    assert raw.compute()["AR100"] > 0
    for name, record in raw.state_dict()["videos"].items():
        for label, entry in record.items():
            other = written.state_dict()["videos"][name][label]
            assert entry["areas"] == other["areas"]
            assert entry["iou"] == other["iou"]
    # What was written is final, however many there are.
    again = TrackAP(top_k=1, exclusive=True)
    again.update(video, predicted_video(dict.fromkeys((1, 2, 3), masks[1])))
    assert len(again.state_dict()["videos"]["3"]["2"]["scores"]) == 3


def test_no_more_candidates_of_a_class_are_kept_than_are_judged() -> None:
    rng = np.random.default_rng(0)
    shape = (2, 8, 10)
    truth = blobs(rng, (1, 2, 3), shape)
    found = blobs(rng, range(1, 131), shape)
    found |= {130: truth[1], 1: truth[2]}
    scores = {i: np.array([0, 0, 1, 0.2]) * (0.001 + 0.007 * i) for i in found}
    video = annotated_video(truth, objects=[ObjectInfo(1, 2), ObjectInfo(2, 2), ObjectInfo(3, 3)])
    kept, whole = TrackAP(), TrackAP()
    kept.update(video, predicted_video(found, class_scores=scores))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segblocks.metrics.track_ap._MAX_DETECTIONS", (1, 10, 1000))
        whole.update(video, predicted_video(found, class_scores=scores))
    records = (m.state_dict()["videos"]["video"]["2"]["scores"] for m in (kept, whole))
    assert [len(scores) for scores in records] == [100, sum(m.any() for m in found.values())]
    assert repr(kept.compute()) == repr(whole.compute())
    assert kept.compute()["AP"] > 0


def test_frames_that_a_better_track_takes_whole_do_not_count_for_the_area() -> None:
    first = np.zeros((2, 4, 4), dtype=bool)
    first[0] = True
    second = first.copy()
    second[1, :2] = True
    scores = {1: np.eye(4)[2], 2: 0.5 * np.eye(4)[2]}
    metric = TrackAP(top_k=2, exclusive=True)
    metric.update(
        annotated_video({1: first}), predicted_video({1: first, 2: second}, class_scores=scores)
    )
    entry = metric.state_dict()["videos"]["video"]["2"]
    assert entry["areas"] == [16, 8]
    assert entry["iou"] == [[1], [0]]
