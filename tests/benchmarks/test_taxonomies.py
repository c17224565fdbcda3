"""The ablations of TMT-VIS: what they compare, and that they run, slim and for one step."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from benchmarks.learning import taxonomies
from benchmarks.learning.spread import mean_and_deviation
from segblocks.zoo.tmt_vis.nano import TMT_VIS_NANO

TINY = [
    *("--seeds", "0", "--steps", "1", "--batch", "1", "--workers", "0", "--device", "cpu"),
    *("--size", "48", "64", "--frames", "3", "--clip", "2", "--videos", "1"),
    *("--text-encoder", "hash/384"),
]


@pytest.fixture
def slim(monkeypatch: pytest.MonkeyPatch) -> None:
    nano = replace(TMT_VIS_NANO, backbone="resnet18")
    monkeypatch.setattr(taxonomies, "TMT_VIS_NANO", nano)
    monkeypatch.setattr(taxonomies, "load_initial", lambda *_: None)


@pytest.mark.usefixtures("slim")
def test_a_run_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("accelerate")
    names = ["without taxonomy, a", "no presence loss"]
    command = ["taxonomies", "--out", str(tmp_path), "--variants", *names, *TINY]
    monkeypatch.setattr("sys.argv", command)
    taxonomies.main()
    first = json.loads((tmp_path / "taxonomies.json").read_text())
    assert list(first["runs"]) == ["repeat first", *names]
    columns = [f"shapes_{x}{only}" for x in "abc" for only in ("", " only")]
    columns += ["mean", "mean only"]
    assert all(list(run["0"]) == columns for run in first["runs"].values())
    assert (tmp_path / "no_presence_loss" / "seed_0" / "checkpoints").is_dir()

    def refuse(*_: Any) -> nn.Module:
        raise AssertionError("trained again")

    monkeypatch.setattr(taxonomies, "train_variant", refuse)
    taxonomies.main()
    assert json.loads((tmp_path / "taxonomies.json").read_text())["runs"] == first["runs"]


def test_variants_are_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["taxonomies", "--out", "o", "--device", "cpu"])
    args = taxonomies.parse()
    configs = {n: taxonomies.config_of(v, args) for n, v in taxonomies.VARIANTS.items()}
    known = [v[0] for v in configs["TMT-VIS, a + c"].vocabularies]
    assert known == ["shapes_a", "shapes_c"]
    assert configs["without taxonomy, b"].injection == "never"
    assert configs["12 selected"].num_selected == 12
    assert len(configs["TMT-VIS, a + b + c"].union().vocabulary.thing_ids) == 12
    assert set(taxonomies.named_by_one("shapes_b")) == {"cross", "hexagon"}


def test_means_are_over_datasets() -> None:
    found = {"a": 0.3, "a only": 0.1, "b": 0.5, "b only": math.nan}
    assert taxonomies.means_of(found) == pytest.approx({"mean": 0.4, "mean only": 0.1})
    assert math.isnan(taxonomies.means_of({"b": 0.5, "b only": math.nan})["mean only"])


def test_runs_are_averaged() -> None:
    runs = {"x": [{"a": 1.0, "b": 3.0}, {"a": 2.0}], "y": [{"b": 5.0}]}
    mean, deviation = mean_and_deviation(runs, ["a", "b"])
    assert mean.rows["x"] == [1.5, 3.0]
    assert math.isnan(mean.rows["y"][0])
    assert deviation.rows["x"][0] == pytest.approx(math.sqrt(0.5))
    assert math.isnan(deviation.rows["x"][1])
