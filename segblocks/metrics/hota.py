"""Higher order tracking accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segblocks._optional import require
from segblocks.metrics.base import Record, VideoMetric, mean
from segblocks.metrics.classes import class_indices
from segblocks.metrics.overlaps import box_iou, iou
from segblocks.results import VideoSegmentation
from segblocks.tasks import VIS, VPS, HintTask
from segblocks.text import burst_classes

if TYPE_CHECKING:
    from segblocks.data.sample import ObjectInfo, VideoSample

Similarity = Literal["mask", "box"]
_KEPT = ("HOTA_TP", "HOTA_FN", "HOTA_FP", "AssA", "AssRe", "AssPr", "LocA")
_NAMES = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")
#: Of objects whose dataset has no classes.
_NO_CLASS = 0


class HOTA(VideoMetric):
    r"""Compute higher order tracking accuracy with TrackEval, class by class.

    Luiten et al., HOTA (IJCV 2021), sections 4 and 5:
    :math:`HOTA = \frac{1}{19} \sum_\alpha \sqrt{DetA_\alpha AssA_\alpha}` over
    :math:`\alpha = 0.05, 0.10 ... 0.95`. The result is the mean over the classes that are
    annotated in any video. Where the task gave hints, as in BURST (Athar et al., WACV 2023), a
    track has the class of the object whose id it has, and a track of no annotated object is left
    out; otherwise it has the class of its label.

    Args:
        similarity: of a mask and an annotated one: the IoU of the masks, or of the boxes around
            them.
        common: numbers of classes that are also averaged on their own, as are all others
            ("uncommon"), or None.
        distractors: numbers of classes that are not judged.
        merged: class number -> the one that it counts as.

    Class numbers are the dataset's own (``category_id``). Objects without a class, as in datasets
    that have none, are all of one.

    Returns of ``compute``: HOTA, DetA, AssA, DetRe, DetPr, AssRe, AssPr, LocA and OWTA; where
    ``common`` is given also the same with ``_common`` and ``_uncommon``.

    Raises:
        ImportError: TrackEval is missing.
        ValueError: another word for ``similarity``.
    """

    tasks = (VIS, VPS, HintTask)

    def __init__(
        self,
        *,
        similarity: Similarity = "mask",
        common: Collection[int] | None = None,
        distractors: Collection[int] = (),
        merged: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        if similarity not in get_args(Similarity):
            raise ValueError(
                f"similarity must be one of {get_args(Similarity)}, got {similarity!r}"
            )
        self._hota = require("trackeval.metrics.hota", "eval").HOTA()
        self.similarity = similarity
        self.common = None if common is None else frozenset(common)
        self.distractors = frozenset(distractors)
        self.merged = dict(merged or {})

    @classmethod
    def burst(cls, *, similarity: Similarity = "box") -> HOTA:
        """Make the metric of BURST: all, common and uncommon classes.

        Args:
            similarity: the paper says that masks are compared, but what its tool (and TrackEval's
                part for BURST) hands to the measure are the boxes around them, so that published
                numbers are those of boxes.
        """
        return cls(
            similarity=similarity,
            common=burst_classes.COMMON,
            distractors=burst_classes.DISTRACTORS,
            merged=burst_classes.MERGED,
        )

    def _settings(self) -> dict[str, Any]:
        merged = sorted([old, new] for old, new in self.merged.items())
        return {
            "similarity": self.similarity,
            "distractors": sorted(self.distractors),
            "merged": merged,
        }

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        categories = {obj.id: _category(truth, obj) for obj in truth.objects if not obj.is_crowd}
        classes = {
            object_id: self._number(category)
            for object_id, category in categories.items()
            if not {category, self._number(category)} & self.distractors
        }
        track_classes = self._track_classes(truth, prediction, classes)
        frames = [
            self._frame(truth, prediction, t, classes, track_classes) for t in truth.annotated
        ]
        record = {}
        for number in sorted({*classes.values(), *track_classes.values()}):
            data = _sequence(frames, classes, track_classes, number)
            if data["num_gt_dets"] or data["num_tracker_dets"]:
                result = self._hota.eval_sequence(data)
                record[str(number)] = {name: result[name].tolist() for name in _KEPT}
        return record

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        averages = {
            number: self._average([r[number] for r in records if number in r])
            for number in sorted({number for record in records for number in record}, key=int)
        }
        annotated = {int(number): a for number, a in averages.items() if a is not None}
        result = _class_mean(list(annotated.values()), "")
        if self.common is not None:
            for group, member in (("_common", True), ("_uncommon", False)):
                chosen = [a for n, a in annotated.items() if (n in self.common) is member]
                result |= _class_mean(chosen, group)
        return result

    def _average(self, results: list[Mapping[str, list[float]]]) -> dict[str, float] | None:
        """The fields of one class over some videos; None where nothing of it is annotated."""
        arrays = {str(i): {k: np.array(v) for k, v in r.items()} for i, r in enumerate(results)}
        combined = self._hota.combine_sequences(arrays)
        if not (combined["HOTA_TP"] + combined["HOTA_FN"]).any():
            return None
        return {name: float(np.mean(combined[name])) for name in _NAMES}

    def _number(self, category: int) -> int:
        return self.merged.get(category, category)

    def _track_classes(
        self, truth: VideoSample, prediction: VideoSegmentation, classes: Mapping[int, int]
    ) -> dict[int, int]:
        if isinstance(prediction.task, HintTask):
            return {t.id: classes[t.id] for t in prediction.tracks if t.id in classes}
        if truth.vocabulary is None:
            return {track.id: _NO_CLASS for track in prediction.tracks}
        assert truth.vocabulary is not None
        indices, vocabulary = class_indices(truth, prediction), prediction.vocabulary
        assert vocabulary is not None
        return {
            track.id: self._number(
                truth.vocabulary.category_id(int(indices[vocabulary.index(track.label)]))
            )
            for track in prediction.tracks
            if track.label is not None
        }

    def _frame(
        self,
        truth: VideoSample,
        prediction: VideoSegmentation,
        t: int,
        classes: Mapping[int, int],
        track_classes: Mapping[int, int],
    ) -> tuple[list[int], list[int], NDArray[np.float64]]:
        """The ids of objects and of tracks that a frame shows, and their IoU."""
        annotation = truth.read_truth(t)
        kept = [
            i
            for i, object_id in enumerate(annotation.ids)
            if object_id in classes and annotation.masks[i].any()
        ]
        tracks = [x for x in prediction.tracks if x.id in track_classes and t in x.rles]
        masks = [track.mask(t) for track in tracks]
        stacked = np.stack(masks) if masks else np.zeros((0, *truth.size), dtype=np.bool_)
        compare = iou if self.similarity == "mask" else box_iou
        similarity = compare(annotation.masks[kept], stacked)
        return [annotation.ids[i] for i in kept], [track.id for track in tracks], similarity


def _category(truth: VideoSample, obj: ObjectInfo) -> int:
    if obj.label is None or truth.vocabulary is None:
        return _NO_CLASS
    return truth.vocabulary.category_id(obj.label)


def _sequence(
    frames: list[tuple[list[int], list[int], NDArray[np.float64]]],
    classes: Mapping[int, int],
    track_classes: Mapping[int, int],
    number: int,
) -> dict[str, Any]:
    """One class of a video in the form that TrackEval's metrics take; ids count from 0."""
    numbers: dict[str, dict[int, int]] = {"gt": {}, "tracker": {}}
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for object_ids, track_ids, similarity in frames:
        rows = [i for i, x in enumerate(object_ids) if classes[x] == number]
        columns = [i for i, x in enumerate(track_ids) if track_classes[x] == number]
        for who, ids in (
            ("gt", [object_ids[i] for i in rows]),
            ("tracker", [track_ids[i] for i in columns]),
        ):
            counted = [numbers[who].setdefault(x, len(numbers[who])) for x in ids]
            data[f"{who}_ids"].append(np.array(counted, dtype=np.int64))
        data["similarity_scores"].append(similarity[np.ix_(rows, columns)])
    for who, ids in numbers.items():
        data[f"num_{who}_ids"] = len(ids)
        data[f"num_{who}_dets"] = sum(map(len, data[f"{who}_ids"]))
    return data


def _class_mean(averages: list[dict[str, float]], group: str) -> dict[str, float]:
    return {name + group: mean([average[name] for average in averages]) for name in _NAMES}
