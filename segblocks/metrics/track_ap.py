"""Average precision and recall of tracks."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segblocks._optional import require
from segblocks.metrics.base import Record, VideoMetric
from segblocks.metrics.classes import class_indices
from segblocks.metrics.overlaps import areas, intersections
from segblocks.ops.rle import decode
from segblocks.results import VideoSegmentation
from segblocks.tasks import VIS, VPS

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample

Ranges = Mapping[str, tuple[float, float]]

#: Mean area of an object over the frames that show it, in pixels: YouTube-VIS and OVIS.
YOUTUBE_VIS_AREAS: Ranges = {"s": (0, 128**2), "m": (128**2, 256**2), "l": (256**2, 1e10)}
#: The same for stills, as COCO has it.
COCO_AREAS: Ranges = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
_ALL = (0, 1e10)
_MAX_DETECTIONS = (1, 10, 100)


class TrackAP(VideoMetric):
    """Compute average precision and recall of tracks with classes.

    Yang, Fan and Xu, Video Instance Segmentation (ICCV 2019), section 3.2: COCO's AP and AR, with
    the IoU of whole tracks, the sum of their intersections over the annotated frames divided by
    the sum of their unions. Averages are over the thresholds 0.5, 0.55 ... 0.95 and the classes
    that occur. Matching and averaging are those of pycocotools, and so is the IoU with a crowd,
    which is the part of the predicted track that lies in it.

    Tracks without class scores, such as those of a submission, are judged as they are. Of others,
    every track with every class is a candidate, and the last two options say how a submission to
    YouTube-VIS is made of them.

    Args:
        area_ranges: name -> (least, largest) mean area in pixels.
        top_k: how many candidates of a video count, the best first; None takes all.
        exclusive: whether candidates of one class share no pixel, the best keeping it.

    Returns of ``compute``: AP, AP50, AP75, AR1, AR10, AR100, and AP and AR100 of each area range
    (``APs``, ``ARs``).

    Raises:
        ImportError: pycocotools is missing.
    """

    tasks = (VIS, VPS)

    def __init__(
        self,
        *,
        area_ranges: Ranges = YOUTUBE_VIS_AREAS,
        top_k: int | None = None,
        exclusive: bool = False,
    ) -> None:
        super().__init__()
        self._cocoeval = require("pycocotools.cocoeval", "eval")
        self.area_ranges = dict(area_ranges)
        self.top_k = top_k
        self.exclusive = exclusive

    def per_class(self) -> dict[int, dict[str, float]]:
        """Return what ``compute`` would return for each class alone.

        Returns:
            Index of the class in the vocabulary of the videos -> its numbers; classes that no
            object has are left out, as they are of the averages.

        Example:
            >>> from segblocks.metrics import TrackAP
            >>> TrackAP().per_class()
            {}
        """
        records = self._records.values()
        labels = {int(label) for r in records for label, own in r.items() if own["true_areas"]}
        return {
            label: self._score([{key: r[key]} for r in records if (key := str(label)) in r])
            for label in sorted(labels)
        }

    def _settings(self) -> dict[str, Any]:
        return {"top_k": self.top_k, "exclusive": self.exclusive}

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        indices = class_indices(truth, prediction)
        candidates = _candidates(prediction, self.top_k)
        objects = [obj for obj in truth.objects if obj.label is not None]
        row_of = {obj.id: row for row, obj in enumerate(objects)}
        regions = _Regions(prediction, candidates, self.exclusive)
        tubes = _Tubes(len(regions), len(objects))
        for t in truth.annotated:
            annotation = truth.read_truth(t)
            kept = [i for i, object_id in enumerate(annotation.ids) if object_id in row_of]
            columns = np.array([row_of[annotation.ids[i]] for i in kept], dtype=np.int64)
            tubes.add(*regions.masks(t), columns, annotation.masks[kept])
        crowd = np.array([obj.is_crowd for obj in objects], dtype=bool)
        areas_found, true_areas, iou = tubes.result(crowd)
        # A candidate that shows itself in no judged frame could not have been submitted.
        found = [i for i, r in enumerate(regions.rows) if tubes.frames[r]]
        labels = np.array([indices[candidates[i].label] for i in found], dtype=np.int64)
        rows = np.array([regions.rows[i] for i in found], dtype=np.int64)
        scores = np.array([candidates[i].score for i in found])
        true_labels = np.array([obj.label for obj in objects], dtype=np.int64)
        record = {}
        for label in np.union1d(labels, true_labels).tolist():
            # No more candidates of a class are ever looked at; they are sorted, the best first.
            best = np.flatnonzero(labels == label)[: _MAX_DETECTIONS[-1]]
            own, of_label = rows[best], true_labels == label
            record[str(label)] = {
                "scores": scores[best].tolist(),
                "areas": areas_found[own].tolist(),
                "true_areas": true_areas[of_label].tolist(),
                "crowd": crowd[of_label].tolist(),
                "iou": iou[own][:, of_label].tolist(),
            }
        return record

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        ranges = {"": _ALL, **self.area_ranges}
        precision, recall = self._accumulate(records, ranges)
        deepest = len(_MAX_DETECTIONS) - 1
        result = {
            "AP": _mean(precision[..., 0, deepest]),
            "AP50": _mean(precision[0, ..., 0, deepest]),
            "AP75": _mean(precision[5, ..., 0, deepest]),
        }
        for m, number in enumerate(_MAX_DETECTIONS):
            result[f"AR{number}"] = _mean(recall[..., 0, m])
        for a, name in enumerate(self.area_ranges, 1):
            result[f"AP{name}"] = _mean(precision[..., a, deepest])
            result[f"AR{name}"] = _mean(recall[..., a, deepest])
        return result

    def _accumulate(
        self, records: Sequence[Record], ranges: Ranges
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision (thresholds, recalls, classes, ranges, depths), and recall without recalls."""
        evaluation = self._cocoeval.COCOeval(iouType="segm")
        params = evaluation.params
        params.imgIds = list(range(len(records)))
        # Classes that no object has are left out of every average.
        params.catIds = sorted(
            {label for record in records for label, entry in record.items() if entry["true_areas"]},
            key=int,
        )
        params.areaRng, params.areaRngLbl = list(ranges.values()), list(ranges)
        params.maxDets = list(_MAX_DETECTIONS)
        for video, record in enumerate(records):
            for label, entry in record.items():
                _fill(evaluation, (video, label), entry)
        evaluation.evalImgs = [
            evaluation.evaluateImg(video, label, area, _MAX_DETECTIONS[-1])
            for label in params.catIds
            for area in params.areaRng
            for video in params.imgIds
        ]
        evaluation._paramsEval = copy.deepcopy(params)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        return evaluation.eval["precision"], evaluation.eval["recall"]


class _Candidate(NamedTuple):
    score: float
    track: int
    label: int
    is_final: bool


class _Regions:
    """The masks of candidates; those of one track share theirs, unless they must be exclusive."""

    def __init__(
        self, prediction: VideoSegmentation, candidates: list[_Candidate], exclusive: bool
    ) -> None:
        keys = [(c.track, c.label if exclusive and not c.is_final else None) for c in candidates]
        self._keys = list(dict.fromkeys(keys))
        self._tracks = prediction.tracks
        row_of = {key: row for row, key in enumerate(self._keys)}
        self.rows = [row_of[key] for key in keys]

    def __len__(self) -> int:
        return len(self._keys)

    def masks(self, t: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The regions that frame t shows, and their masks (N, H, W)."""
        rows = [i for i, (track, _) in enumerate(self._keys) if t in self._tracks[track].rles]
        decoded = {self._keys[i][0]: None for i in rows}
        masks = {track: decode(self._tracks[track].rles[t]) for track in decoded}
        taken: dict[int, NDArray[np.bool_]] = {}
        shown = []
        for track, label in (self._keys[i] for i in rows):
            mask = masks[track]
            if label is not None:
                before = taken.get(label)
                mask = mask if before is None else mask & ~before
                taken[label] = mask if before is None else mask | before
            shown.append(mask)
        size = self._tracks[0].size if self._tracks else (0, 0)
        stacked = np.stack(shown) if shown else np.zeros((0, *size), dtype=np.bool_)
        return np.array(rows, dtype=np.int64), stacked


class _Tubes:
    """Sum up, frame by frame, the overlaps of predicted and annotated tracks."""

    def __init__(self, num_predicted: int, num_annotated: int) -> None:
        self.common = np.zeros((num_predicted, num_annotated), dtype=np.int64)
        self.pixels = np.zeros(num_predicted, dtype=np.int64)
        self.frames = np.zeros(num_predicted, dtype=np.int64)
        self.true_pixels = np.zeros(num_annotated, dtype=np.int64)
        self.true_frames = np.zeros(num_annotated, dtype=np.int64)

    def add(
        self,
        rows: NDArray[np.int64],
        masks: NDArray[np.bool_],
        columns: NDArray[np.int64],
        true_masks: NDArray[np.bool_],
    ) -> None:
        size, true_size = areas(masks), areas(true_masks)
        self.pixels[rows] += size
        self.frames[rows] += size > 0
        self.true_pixels[columns] += true_size
        self.true_frames[columns] += true_size > 0
        if len(rows) and len(columns):
            self.common[np.ix_(rows, columns)] += intersections(masks, true_masks)

    def result(
        self, crowd: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean areas of both over the frames that show them, and IoUs."""
        outside = np.where(crowd, 0, self.true_pixels - self.common)
        iou = self.common / np.maximum(self.pixels[:, None] + outside, 1)
        found = self.pixels / np.maximum(self.frames, 1)
        return found, self.true_pixels / np.maximum(self.true_frames, 1), iou


def _candidates(prediction: VideoSegmentation, top_k: int | None) -> list[_Candidate]:
    """The tracks that are final, and the best of all pairs of another and a class; best first."""
    candidates, final = [], []
    for index, track in enumerate(prediction.tracks):
        if track.class_scores is not None:
            scores = enumerate(track.class_scores)
            candidates += [_Candidate(float(s), index, k, False) for k, s in scores]
        elif track.label is not None and prediction.vocabulary is not None:
            score = 1.0 if track.score is None else float(track.score)
            label = prediction.vocabulary.index(track.label)
            final.append(_Candidate(score, index, label, True))
    best = sorted(candidates, key=lambda c: -c.score)[:top_k]
    return sorted([*best, *final], key=lambda c: -c.score)


def _fill(evaluation: Any, key: tuple[int, str], entry: Mapping[str, Any]) -> None:
    """Hand one class of one video to COCO's matching, which wants ids from 1."""
    truths = zip(entry["true_areas"], entry["crowd"], strict=True)
    found = zip(entry["scores"], entry["areas"], strict=True)
    evaluation._gts[key] = [
        {"id": i, "area": area, "iscrowd": int(crowd), "ignore": int(crowd)}
        for i, (area, crowd) in enumerate(truths, 1)
    ]
    evaluation._dts[key] = [
        {"id": i, "score": score, "area": area} for i, (score, area) in enumerate(found, 1)
    ]
    shape = len(entry["scores"]), len(entry["true_areas"])
    evaluation.ious[key] = np.array(entry["iou"], dtype=np.float64).reshape(shape)


def _mean(values: NDArray[np.float64]) -> float:
    judged = values[values > -1]
    return float(judged.mean()) if judged.size else float("nan")
