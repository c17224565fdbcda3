"""Region similarity J and contour accuracy F of objects that a task named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import scipy  # its parts are imported when they are used
from numpy.typing import NDArray

from segblocks.metrics.base import Record, VideoMetric, mean
from segblocks.metrics.boundary import boundary_f
from segblocks.results import Track, VideoSegmentation
from segblocks.tasks import HintTask, RefVOS

if TYPE_CHECKING:
    from segblocks.data.sample import ObjectInfo, Truth, VideoSample

Judged = Literal["between", "after", "all"]
_BINS = 4


class ObjectSimilarity(VideoMetric):
    """Compare the masks of each object with its annotation; see :class:`JAndF`.

    Args:
        judged: the frames that count for an object, of those that are annotated: after its hint
            without the last of the video ("between"), after its hint ("after"), or all.

    Raises:
        ValueError: another word for ``judged``.
    """

    tasks = (HintTask, RefVOS)

    def __init__(self, judged: Judged) -> None:
        super().__init__()
        if judged not in get_args(Judged):
            raise ValueError(f"judged must be one of {get_args(Judged)}, got {judged!r}")
        self.judged = judged

    def _settings(self) -> dict[str, Any]:
        return {"judged": self.judged}

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        targets = self._targets(truth, prediction)
        return {
            target.name: {
                "seen": target.seen,
                "is_thing": target.is_thing,
                "J": _statistics(j),
                "F": _statistics(f),
            }
            for target, found in zip(targets, self._compare_all(truth, targets), strict=True)
            if len(found)
            for j, f in [found.T]
        }

    def _compare_all(
        self, truth: VideoSample, targets: Sequence[_Target]
    ) -> list[NDArray[np.float64]]:
        """J and F of each target in each frame that counts for it, (frames, 2)."""
        frames = [set(self._frames(truth, target)) for target in targets]
        values: list[list[tuple[float, float]]] = [[] for _ in targets]
        for t in truth.annotated:
            if not any(t in judged for judged in frames):
                continue
            annotation = truth.read_truth(t)
            for target, judged, found in zip(targets, frames, values, strict=True):
                if t in judged:
                    found.append(_compare(annotation, target, t, truth.size))
        return [np.array(found, dtype=np.float64).reshape(-1, 2) for found in values]

    def _targets(self, truth: VideoSample, prediction: VideoSegmentation) -> list[_Target]:
        return _targets(truth, prediction)

    def _frames(self, truth: VideoSample, target: _Target) -> Sequence[int]:
        if self.judged == "all":
            return truth.annotated
        # A task that gives several objects at once starts with the first.
        hints = [truth.hint_frames.get(i, truth.annotated[0]) for i in target.object_ids]
        last = truth.annotated[-1] if self.judged == "between" else truth.num_frames
        return [t for t in truth.annotated if min(hints, default=-1) < t < last]


class JAndF(ObjectSimilarity):
    r"""Compute J&F as DAVIS 2017 does.

    Perazzi et al. (CVPR 2016), section 3.1, and Pont-Tuset et al., The 2017 DAVIS Challenge
    (arXiv:1704.00675), section 3. For an object, J is the IoU of its mask and F its contour
    accuracy (:func:`~segblocks.metrics.boundary.boundary_f`) in each judged frame, 1 where it is
    neither there nor predicted. Mean is over the frames; recall the part of the frames above 0.5;
    decay the mean of the first quarter minus that of the last. All are averaged over the objects
    of all videos, and J&F is the mean of the two means.

    Objects and tracks go together by id; for RefVOS each expression is an object, and its track
    the one of its place in the task. Pixels that the annotation ignores count to no mask.

    Papers judge Ref-DAVIS17 with DAVIS' tool for the unsupervised task, which differs: for each of
    the four kinds of sentences on its own, it gives the masks of a video to the objects as J&F is
    best, whatever sentence they are of, so that a mask of the wrong object costs nothing where the
    sentences are merely swapped. ``kinds=4`` does that; without it a mask is judged for its own
    sentence. The tool also takes one label map a kind, in which masks cannot overlap; here they
    may. MOSE's validation set is judged on a server, whose code is not public; the numbers for MOSE
    here are those of DAVIS.

    Args:
        judged: the frames that count for an object. DAVIS leaves out the first, which is given, and
            the last ("between"). YouTube-VOS' objects appear later and count "after" that; where
            nothing but words is given, "all" frames count. Objects with no such frame are left out.
        kinds: of RefVOS, how many kinds of sentences the video has in turn; tracks are then
            assigned to the objects within each kind. None leaves each to its own sentence.

    Returns of ``compute``: J&F, J_mean, J_recall, J_decay, F_mean, F_recall and F_decay.

    Raises:
        ValueError: another word for ``judged``, or no kinds.
    """

    def __init__(self, judged: Judged = "between", *, kinds: int | None = None) -> None:
        super().__init__(judged)
        if kinds is not None and kinds < 1:
            raise ValueError(f"JAndF: kinds must be at least 1, got {kinds}")
        self.kinds = kinds

    def _settings(self) -> dict[str, Any]:
        kinds = {} if self.kinds is None else {"kinds": self.kinds}
        return super()._settings() | kinds

    def _targets(self, truth: VideoSample, prediction: VideoSegmentation) -> list[_Target]:
        targets = super()._targets(truth, prediction)
        if self.kinds is None:
            return targets
        if not isinstance(prediction.task, RefVOS):
            raise ValueError(
                f"JAndF: kinds are those of sentences, which the prediction of {truth.name!r} for "
                f"{prediction.task_name!r} has none of"
            )
        assigned: dict[str, _Target] = {}
        for kind in range(self.kinds):
            own = targets[kind :: self.kinds]
            pairs = [wanted._replace(track=found.track) for wanted in own for found in own]
            values = [v.mean() if len(v) else 0.0 for v in self._compare_all(truth, pairs)]
            quality = np.array(values).reshape(len(own), len(own))
            rows, columns = scipy.optimize.linear_sum_assignment(quality, maximize=True)
            for row, column in zip(rows, columns, strict=True):
                assigned[own[row].name] = pairs[row * len(own) + column]
        return [assigned[target.name] for target in targets]

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        objects = [entry for record in records for entry in record.values()]
        result = {
            f"{kind}_{name}": mean([entry[kind][i] for entry in objects])
            for kind in ("J", "F")
            for i, name in enumerate(("mean", "recall", "decay"))
        }
        return {"J&F": (result["J_mean"] + result["F_mean"]) / 2, **result}


class _Target(NamedTuple):
    """What to look for: some objects of the annotation, and the track that should be them."""

    name: str
    object_ids: tuple[int, ...]
    track: Track | None
    seen: bool = True
    is_thing: bool = True


def _targets(truth: VideoSample, prediction: VideoSegmentation) -> list[_Target]:
    tracks = {track.id: track for track in prediction.tracks}
    if not isinstance(prediction.task, RefVOS):
        return [
            _Target(
                str(obj.id),
                (obj.id,),
                tracks.get(obj.id),
                bool(obj.attributes.get("seen", True)),
                _is_thing(truth, obj),
            )
            for obj in truth.objects
            if not obj.is_crowd
        ]
    if len(prediction.task.expressions) != len(truth.expressions):
        raise ValueError(
            f"the prediction of {truth.name!r} must have {len(truth.expressions)} expressions like "
            f"the video, got {len(prediction.task.expressions)}"
        )
    return [
        _Target(expression.id, expression.object_ids, tracks.get(number))
        for number, expression in enumerate(truth.expressions, 1)
    ]


def _is_thing(truth: VideoSample, obj: ObjectInfo) -> bool:
    if truth.vocabulary is None or obj.label is None:
        return True
    return truth.vocabulary.is_thing(obj.label)


def _compare(truth: Truth, target: _Target, t: int, size: tuple[int, int]) -> tuple[float, float]:
    """J and F of a target in an annotated frame."""
    wanted = np.zeros(size, dtype=np.bool_)
    for object_id, mask in zip(truth.ids, truth.masks, strict=True):
        if object_id in target.object_ids:
            wanted |= mask
    found = np.zeros(size, dtype=np.bool_) if target.track is None else target.track.mask(t)
    if truth.ignore is not None:
        wanted, found = wanted & ~truth.ignore, found & ~truth.ignore
    union = np.count_nonzero(wanted | found)
    j = np.count_nonzero(wanted & found) / union if union else 1.0
    return j, boundary_f(found, wanted)


def _statistics(values: NDArray[np.float64]) -> list[float]:
    """Mean, recall and decay over the frames of an object."""
    # Quarters share the frame at which they meet, and are whole frames, as in DAVIS' tool.
    ends = np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10).astype(np.int64) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    decay = first.mean() - last.mean()
    return [float(values.mean()), float((values > 0.5).mean()), float(decay)]
