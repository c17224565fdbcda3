"""Models and their parts, with and without fast backends."""

from __future__ import annotations

import os

import pytest
import torch

from segblocks.bench import Setting, prepare
from segblocks.bench.models import model_suite
from segblocks.bench.shapes import Clip

TINY = Clip(1, 32, 64)


@pytest.mark.parametrize("name", ["mask2former_vis_nano.neck", "univs_nano.decoder"])
def test_a_part_gives_the_same_with_all_backends(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "auto")
    suite = model_suite(name)
    setting = Setting(torch.device("cpu"), "fp32", "fwd+bwd")
    found = prepare(suite, TINY, setting, suite.contenders)
    assert [each.refused for each in found] == [None, None]
    assert os.environ["SEGBLOCKS_BACKEND"] == "auto"


def test_a_part_is_called_with_what_the_model_hands_it() -> None:
    suite = model_suite("mask2former_vis_nano.neck")
    setting = Setting(torch.device("cpu"), "fp32", "fwd")
    problem = suite.make(TINY, setting)
    levels = suite.oracle(problem.given, *problem.tensors)
    assert [tuple(level.shape[-2:]) for level in levels] == [(1, 2), (2, 4), (4, 8), (8, 16)]


def test_reference_sees_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGBLOCKS_BACKEND", raising=False)
    suite = model_suite("mask2former_vis_nano")
    problem = suite.make(TINY, Setting(torch.device("cpu"), "fp32", "fwd"))
    seen = []
    given = problem.given._replace(call=lambda: seen.append(os.environ.get("SEGBLOCKS_BACKEND")))
    for contender in suite.contenders:
        with pytest.raises(AssertionError):
            contender.function(given)
    assert seen == [None, "reference"]
    assert "SEGBLOCKS_BACKEND" not in os.environ
