"""The page of benchmarks, from a small file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from segblocks.bench import Measurement, Row
from segblocks.bench.machine import describe_machine
from segblocks.bench.results import Results, load_results, save_results

pytest.importorskip("matplotlib")

OURS = Row(
    "op",
    "small",
    {"frames": 3},
    "cpu",
    "fp32",
    "fwd",
    "segblocks",
    error=2e-7,
    taken=Measurement(0.01, 0.009, 0.012, 5, 1, 3 << 20),
)
ROWS = (
    OURS,
    replace(OURS, contender="slow", taken=Measurement(0.025, 0.02, 0.03, 5, 1, None)),
    replace(OURS, contender="fast", taken=Measurement(0.005, 0.004, 0.006, 5, 1, 1 << 20)),
    replace(OURS, contender="absent", error=None, taken=None, refused="not installed"),
    replace(OURS, contender="off", error=0.5, taken=None, refused="wrong: relative error 5e-01"),
)


def test_wins_losses_and_absences_stand_on_the_page(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    machine = describe_machine("noisy") | {"cpu": "8086"}
    save_results(results / "toy.json", machine, ROWS)
    report.main(["--results", str(results), "--docs", str(tmp_path / "docs")])
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "cpu 8086" in page
    assert "**noisy**" in page
    assert (
        "| cpu fp32 fwd | segblocks | 10.0 ms | 9.00 ms .. 12.0 ms | 3.0 MiB | 2e-07 | ours |"
        in page
    )
    assert "| slow | 25.0 ms | 20.0 ms .. 30.0 ms | - | 2e-07 | 2.50x slower |" in page
    assert "| fast | 5.00 ms | 4.00 ms .. 6.00 ms | 1.0 MiB | 2e-07 | 2.00x faster |" in page
    assert "- absent (fp32 fwd): not installed" in page
    assert "- off (fp32 fwd): wrong" in page
    assert "no figures of a GPU" in page
    picture = (tmp_path / "docs" / "images" / "benchmark_toy.svg").read_text()
    assert picture.startswith("<?xml")
    for shown in ("slow", "fast", " 2.50 ", " 0.50 "):
        assert picture.count(f">{shown}<") == 1
    assert "images/benchmark_toy.svg" in page


def test_a_page_with_a_gpu_does_not_miss_one(tmp_path: Path) -> None:
    on_gpu = Results({"gpu": "H"}, tuple(replace(row, device="cuda") for row in ROWS))
    report.write_report({"gpu": on_gpu}, tmp_path)
    assert "no figures of a GPU" not in (tmp_path / "benchmarks.md").read_text()


def test_ratios() -> None:
    (found,) = report.ratios(Results({}, ROWS)).values()
    assert found == {"slow": 2.5, "fast": 0.5}
    assert report.ratios(Results({}, ROWS[1:])) == {}


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no results"):
        report.main(["--results", str(tmp_path), "--docs", str(tmp_path)])


def test_stored_results_can_be_read() -> None:
    files = sorted((report.ROOT / "benchmarks" / "results").glob("*.json"))
    assert files
    for file in files:
        assert load_results(file).rows
    page = (report.ROOT / "docs" / "benchmarks.md").read_text()
    assert all(f"## {file.stem}\n" in page for file in files)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "rows": 3}'])
def test_files_of_another_kind(content: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"other\.json: no file of `segblocks bench --json`"):
        load_results(file)
