"""What all metrics share: one record a video, from which every number follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from segblocks.results import VideoSegmentation
from segblocks.tasks import Task

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample

Record = dict[str, Any]


class VideoMetric(ABC):
    """Judge videos one at a time, and keep of each only a small record of plain numbers.

    The record of a video is made in ``update`` and never changes, so that the state can be stored
    as JSON at any moment, video by video, and joined again in another process.
    """

    #: What a prediction may be of; of other tasks the number would mean nothing.
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the videos that have been judged, in order."""
        return tuple(self._records)

    def update(self, truth: VideoSample, prediction: VideoSegmentation) -> None:
        """Judge the next video.

        Args:
            truth: the video as annotated; only its annotated frames count.
            prediction: what came out for it, over all its frames.

        Raises:
            ValueError: a video that was judged before, one without annotation, or a prediction of
                another size or length, or of a task that the metric does not judge.
        """
        if truth.name in self._records:
            raise ValueError(f"{type(self).__name__}: video {truth.name!r} was judged before")
        if not truth.annotated:
            raise ValueError(f"{type(self).__name__}: video {truth.name!r} has no annotation")
        if not isinstance(prediction.task, self.tasks):
            names = ", ".join(task.__name__ for task in self.tasks)
            raise ValueError(
                f"{type(self).__name__}: the prediction of {truth.name!r} must be of a task of "
                f"{names}, got one of {prediction.task_name!r}"
            )
        for what in ("size", "num_frames"):
            expected, got = getattr(truth, what), getattr(prediction, what)
            if expected != got:
                raise ValueError(
                    f"{type(self).__name__}: the prediction of {truth.name!r} must have {what} "
                    f"{expected} like the video, got {got}"
                )
        self._records[truth.name] = self._measure(truth, prediction)

    def compute(self) -> dict[str, float]:
        """Return the metric over all videos so far; NaN for what nothing could be judged by."""
        return self._score(list(self._records.values()))

    def per_video(self) -> dict[str, dict[str, float]]:
        """Return what ``compute`` would return for each video alone."""
        return {name: self._score([record]) for name, record in self._records.items()}

    def state_dict(self, videos: Iterable[str] | None = None) -> dict[str, Any]:
        """Return all that is known, as plain data for JSON.

        Args:
            videos: only the records of these; None takes all. An evaluation that stores each video
                on its own need not write the others again.

        Raises:
            KeyError: a video that was not judged.
        """
        names = self._records if videos is None else videos
        return {
            "metric": type(self).__name__,
            "settings": self._settings(),
            "videos": {name: self._records[name] for name in names},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Add the videos of a state to those that have been judged here.

        Raises:
            ValueError: a state of another metric, of one with other settings, or a video that was
                judged here before; nothing is loaded then.
        """
        for what, expected in (("metric", type(self).__name__), ("settings", self._settings())):
            if state[what] != expected:
                raise ValueError(
                    f"{type(self).__name__}: the state must have {what} {expected!r}, "
                    f"got {state[what]!r}"
                )
        if repeated := [name for name in state["videos"] if name in self._records]:
            raise ValueError(f"{type(self).__name__}: judged before: {', '.join(repeated)}")
        self._records.update(state["videos"])

    @abstractmethod
    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        """Make the record of a video; JSON gives it back unchanged."""

    @abstractmethod
    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        """Compute the metric from the records of some videos."""

    def _settings(self) -> dict[str, Any]:
        """What of the metric's options changes its records; JSON gives it back unchanged."""
        return {}


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN where there is none."""
    return float(sum(values) / len(values)) if values else float("nan")
