"""``segblocks bench``: tables, files, and words that are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segblocks.bench import Contender, masked_cross_attention
from segblocks.bench.results import load_results
from segblocks.cli import main

SHAPE = "queries=3,keys=21,heads=2,dim=8"
QUICK = ["--device", "cpu", "--seconds", "0.001"]


def test_a_table_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    words = ["masked_cross_attention", "--shape", SHAPE, "--contenders", "segblocks,weights"]
    words += ["--dtype", "fp32", "--dtype", "bf16", "--json", str(file), "--note", "a test"]
    assert main(["bench", *words, *QUICK]) == 0
    out = capsys.readouterr().out
    assert out.count("masked_cross_attention queries=3") == 4
    assert "x slower" in out or "x faster" in out
    results = load_results(file)
    assert results.machine["torch"] == torch.__version__
    assert results.machine["note"] == "a test"
    assert [(row.dtype, row.direction, row.contender) for row in results.rows] == [
        (dtype, direction, contender)
        for dtype in ("fp32", "bf16")
        for direction in ("fwd", "fwd+bwd")
        for contender in ("segblocks", "weights")
    ]
    assert all(row.taken is not None and row.taken.median > 0 for row in results.rows)
    assert results.rows[0].sizes["keys"] == 21


def test_what_cannot_run_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["masked_cross_attention", "--shape", SHAPE, "--contenders", "segblocks,xformers"]
    assert main(["bench", *words, "--direction", "fwd", *QUICK]) == 0
    assert "xformers: the operators of xformers run on CUDA alone" in capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "ms_deform_attn", "tarvis_nano.neck", "--list", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "480p_T8: Deformable(frames=8, height=480, width=864" in out
    assert "grid_sample: grid_sample, levels stacked" in out
    assert "(not here: Deformable DETR's extension is for CUDA alone)" in out
    assert "tarvis_nano.neck" in out


def test_list_without_an_operation_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    names = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert {"ragged_cross_attention", "tarvis_nano", ".neck"} <= set(names)


def test_what_is_said_twice_is_measured_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["masked_cross_attention"] * 2 + ["--shape", SHAPE, "--shape", SHAPE]
    words += ["--contenders", "reference,reference", *["--direction", "fwd"] * 2]
    assert main(["bench", *words, *QUICK]) == 0
    out = capsys.readouterr().out
    assert out.count("masked_cross_attention queries=3") == 1
    assert out.count("  reference ") == 1


def test_wrong_sizes_are_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["space_time_attention", "--shape", "256x448_T2", "--shape", "height=96"]
    assert main(["bench", *words, "--json", str(tmp_path / "a.json"), *QUICK]) == 2
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "an OP is missing, such as ms_deform_attn; --list names all"),
        (["ms_deform_attn", "--shape", "480_T3"], "did you mean 480p_T3"),
        (["ms_deform_attn", "--contenders", ","], "no name is given; there are segblocks"),
        (["ms_deform_attn", "--json", "/"], "this is a folder, not a file"),
        (["ms_deform"], "unknown operation 'ms_deform'; did you mean ms_deform_attn"),
        (["tarvis_nano.head"], "did you mean tarvis_nano"),
        (["ms_deform_attn", "--shape", "4k"], "unknown shape '4k'; there are 240p_T1"),
        (["ms_deform_attn", "--shape", "frames=-1"], "frames must be a positive whole number"),
        (["ms_deform_attn", "--contenders", "sdpa"], "has no 'sdpa'; there are segblocks"),
        (["ms_deform_attn", "--flush-l2"], "--flush-l2 needs a GPU, got --device cpu"),
        (
            ["ms_deform_attn", "--json", "/no/such/folder/a.json"],
            "folder: there is no such folder",
        ),
        (["space_time_attention", "--shape", "height=96"], "multiples of 64"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--dtype", "fp8"], ["--direction", "bwd"], ["--seconds", "0"], ["--clock", "sun"]]
)
def test_words_that_no_device_knows(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "ms_deform_attn", *words])
    assert caught.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_a_type_that_a_device_lacks_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object) -> torch.Tensor:
        raise NotImplementedError("\"attention\" not implemented for 'Half'")

    suite = masked_cross_attention.SUITE
    without = (*suite.contenders[2:3], Contender("lacking", "", lacking))
    monkeypatch.setattr(masked_cross_attention, "SUITE", replace(suite, contenders=without))
    words = ["masked_cross_attention", "--shape", SHAPE, "--dtype", "fp16", "--direction", "fwd"]
    assert main(["bench", *words, *QUICK]) == 0
    out = capsys.readouterr().out
    assert "lacking: failed: \"attention\" not implemented for 'Half'" in out
    assert "reference" in out
