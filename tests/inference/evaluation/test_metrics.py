"""Metrics by the names that people use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segblocks.inference.evaluation.metrics import choose_metrics
from segblocks.metrics import JAndF
from tests.inference.evaluation.evaluated import made_dataset, squares_davis


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["J&F"], ["JAndF"]),
        (["jandf"], ["JAndF"]),
        ([JAndF], ["JAndF"]),
        (None, ["JAndF"]),
    ],
)
def test_metrics_by_name(words: Any, names: list[str], tmp_path: Path) -> None:
    assert list(choose_metrics(squares_davis(tmp_path, 1), words)) == names


def test_metrics_of_the_task_may_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made_dataset("vipseg", tmp_path, 1)
    assert list(choose_metrics(dataset)) == ["VPQ", "STQ"]
    assert list(choose_metrics(dataset, ["pq", "VPQ"])) == ["PQ", "VPQ"]
    # The dataset's windows, not the task's.
    assert (
        choose_metrics(dataset, ["vpq"])["VPQ"]().state_dict()["settings"]
        == (choose_metrics(dataset)["VPQ"]().state_dict()["settings"])
    )
    vspw = made_dataset("vspw", tmp_path / "vspw", 1)
    assert list(choose_metrics(vspw, ["mvc", "miou"])) == ["VideoConsistency", "MeanIoU"]
    made: list[str] = []
    burst = made_dataset("burst", tmp_path / "burst", 1)
    monkeypatch.setattr("segblocks.metrics.hota.HOTA.__init__", lambda *_, **__: made.append("x"))
    assert list(choose_metrics(burst, ["j&f"])) == ["JAndF"]
    assert list(choose_metrics(burst)) == ["HOTA"]
    assert not made
    with pytest.raises(ValueError, match=r"no metric 'sqt'; did you mean 'STQ'"):
        choose_metrics(dataset, ["sqt"])
    with pytest.raises(ValueError, match="at least one"):
        choose_metrics(dataset, [])
