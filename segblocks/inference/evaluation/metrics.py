"""Which metrics an evaluation computes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from segblocks.data.dataset import VideoDataset
from segblocks.metrics import VideoMetric, metrics_for

MetricFactory: TypeAlias = Callable[[], VideoMetric]

#: What users call a metric after its main number.
_NUMBERS = {
    "GScore": ("G",),
    "JAndF": ("J&F",),
    "MeanIoU": ("mIoU",),
    "TrackAP": ("AP",),
    "VideoConsistency": ("mVC", "VC"),
}


def choose_metrics(
    dataset: VideoDataset, chosen: Sequence[str | MetricFactory] | None = None
) -> dict[str, MetricFactory]:
    """Return what makes the metrics of a dataset, by class name.

    Args:
        dataset: whose metrics, and those of whose task, may be chosen.
        chosen: class names, main numbers, or what makes a metric; None takes the dataset's.

    Raises:
        ValueError: no such metric; close matches are listed.

    Example:
        >>> from segblocks.data.synthetic import SyntheticWorld, world_config
        >>> list(choose_metrics(SyntheticWorld(world_config("tiny"), task="vps"), ["stq", "PQ"]))
        ['STQ', 'PQ']
    """
    try:
        usual = metrics_for(dataset.name)
    except ValueError:
        usual = metrics_for(dataset.task)
    if chosen is None:
        return {_class_name(make): make for make in usual}
    known = {_class_name(make): make for make in (*metrics_for(dataset.task), *usual)}
    spellings = {_plain(word): name for name in known for word in (name, *_NUMBERS.get(name, ()))}
    found: dict[str, MetricFactory] = {}
    for metric in chosen:
        if not isinstance(metric, str):
            found[_class_name(metric)] = metric
            continue
        if _plain(metric) not in spellings:
            close = difflib.get_close_matches(_plain(metric), spellings, n=3, cutoff=0.5)
            names = list(dict.fromkeys(spellings[word] for word in close))
            hint = f"; did you mean {' or '.join(map(repr, names))}?" if names else ""
            raise ValueError(
                f"{dataset.name} has no metric {metric!r}{hint}; there are {', '.join(known)}"
            )
        found[spellings[_plain(metric)]] = known[spellings[_plain(metric)]]
    if not found:
        raise ValueError("metrics must name at least one, got none")
    return found


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.casefold())


def _class_name(make: Any) -> str:
    """The class of a metric that is not made, since that may need a package which is missing."""
    while isinstance(make, partial):
        make = make.func
    made = make if isinstance(make, type) else getattr(make, "__self__", None)
    return made.__name__ if isinstance(made, type) else type(make()).__name__
