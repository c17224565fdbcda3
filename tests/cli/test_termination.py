"""Signals end a command cleanly: one line, the usual status, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks import zoo
from segblocks.cli import main
from segblocks.cli.termination import Terminated, raising_terminated
from segblocks.inference import writers
from segblocks.inference.encode import VideoWriter
from tests.oracle import OracleModel, squares_video

STATUS = {signal.SIGTERM: (143, "segblocks: terminated\n"), signal.SIGINT: (130, "interrupted\n")}


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A process that a shell starts in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "video").mkdir()
    for t, frame in enumerate(squares_video(9)):
        Image.fromarray(frame).save(tmp_path / "video" / f"{t}.png")
    return tmp_path


def words(folder: Path, *options: str) -> list[str]:
    line = ["segment", str(folder / "video"), "--model", "tarvis_nano", "--task", "vis"]
    line += ["--vocabulary", "ground,cat,dog,cow,hen", "--clip-length", "4", "--device", "cpu"]
    return [*line, "--out", str(folder / "a" / "out"), "--no-progress", *options]


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.parent.name != "video"}


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("moment", ["model", "mask", "overlay"])
def test_a_signal_leaves_nothing(
    folder: Path,
    number: signal.Signals,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("av")
    place: Any
    place, name = {
        "model": (OracleModel, "forward"),
        "mask": (writers, "write_label_map"),
        "overlay": (VideoWriter, "write"),
    }[moment]
    work, calls = getattr(place, name), []

    def interrupted(*args: Any, **options: Any) -> Any:
        result = work(*args, **options)
        calls.append(name)
        if len(calls) == 2:
            signal.raise_signal(number)
        return result

    monkeypatch.setattr(zoo, "create_model", lambda *_, **__: OracleModel())
    monkeypatch.setattr(place, name, interrupted)
    before = signal.getsignal(number)
    assert main(words(folder)) == STATUS[number][0]
    assert capsys.readouterr().err.endswith(STATUS[number][1])
    assert len(calls) == 2
    assert names(folder) == {"video"}
    assert signal.getsignal(number) == before


def test_an_earlier_result_outlasts_a_signal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "create_model", lambda *_, **__: OracleModel())
    assert main(words(folder, "--no-overlay")) == 0
    files = {path: path.read_bytes() for path in (folder / "a").rglob("*") if path.is_file()}

    def terminated(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(writers, "write_label_map", terminated)
    assert main(words(folder, "--no-overlay", "--overwrite")) == 143
    left = {path: path.read_bytes() for path in (folder / "a").rglob("*") if path.is_file()}
    assert left == files


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def enter() -> None:
        with raising_terminated():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with raising_terminated():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_forked_process_dies_from_the_signal() -> None:
    with raising_terminated():
        process = os.fork()
        if not process:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                os._exit(1)
        _, status = os.waitpid(process, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
def test_a_whole_process(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("av")
    (tmp_path / "video").mkdir()
    for t, frame in enumerate(np.random.default_rng(0).integers(0, 255, (60, 96, 128, 3), "uint8")):
        Image.fromarray(frame).save(tmp_path / "video" / f"{t}.png")
    line = [sys.executable, "-m", "segblocks.cli", *words(tmp_path)]
    line[line.index("ground,cat,dog,cow,hen")] = "synthetic"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [word for word in line if word != "--no-progress"],
        stderr=subprocess.PIPE,
        env=path,
        text=True,
    )
    assert process.stderr is not None
    for shown in _lines(process.stderr):
        if "/60" in shown and " 0/60" not in shown:
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(60) == STATUS[number][0]
    assert rest.endswith(STATUS[number][1])
    assert "Traceback" not in rest
    assert names(tmp_path) == {"video"}


def _lines(stream: Any, seconds: float = 120) -> Iterator[str]:
    """What a progress bar has shown so far, each time that it shows more."""
    end, text = time.monotonic() + seconds, ""
    while time.monotonic() < end and (more := stream.read(1)):
        text += more
        yield text
