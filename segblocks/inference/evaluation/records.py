"""The folder of an evaluation: one record for each video that is done, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import reprlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from segblocks.data.files import read_json
from segblocks.inference.evaluation.predictions import RESULTS, video_place
from segblocks.inference.writers import save_result
from segblocks.results import VideoSegmentation

RUN_FILE, METRICS_FILE = "evaluation.json", "metrics.json"
TABLE_FILE, CSV_FILE = "table.txt", "per_video.csv"
_RECORDS, _UNFINISHED = "records", ".unfinished"
_OWNED = (RUN_FILE, METRICS_FILE, TABLE_FILE, CSV_FILE, RESULTS, _RECORDS, _UNFINISHED)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_FORMAT = {"format": "segblocks.evaluation", "version": 1}


class EvaluationFolder:
    """Keep the records of an evaluation, so that it can be interrupted at any moment.

    A video's result and record are made in ``.unfinished`` and moved to ``predictions`` and
    ``records`` when they are whole, the record last.

    Args:
        out: the folder.
        run: what is evaluated and how, as plain values; all records of a folder have the same.
        worker: tells apart processes that share the folder.
    """

    def __init__(self, out: Path, run: Mapping[str, Any], worker: str) -> None:
        self.out = out
        self.run = json.loads(json.dumps(run))
        self._worker = worker
        self._run_hash = hashlib.sha256(json.dumps(self.run, sort_keys=True).encode()).hexdigest()

    def begin(self, *, restart: bool) -> None:
        """Make the folder, or check that it is of the same run.

        Args:
            restart: remove what an earlier run has left.

        Raises:
            OSError: the place cannot be written to.
            ValueError: the folder is of another run, or holds other files of our names.
        """
        if self.out.exists() and not self.out.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "this is a file, not a folder", str(self.out))
        known = self.out / RUN_FILE
        _check_owned(self.out)
        if restart:
            clear_folder(self.out)
        # Made at once, so that a place that cannot be written to shows before there is any work.
        (self.out / _UNFINISHED).mkdir(parents=True, exist_ok=True)
        if known.exists():
            self._check_same(read_json(known), str(known), self.run)
        else:
            self.write_text(RUN_FILE, json.dumps({**_FORMAT, **self.run}, indent=1) + "\n")

    def sweep(self, names: Iterable[str], *, alone: bool) -> None:
        """Remove what an interrupted run has left.

        Args:
            names: of the videos that this process does.
            alone: whether no other process works in the folder.
        """
        work = self.out / _UNFINISHED
        if alone:
            shutil.rmtree(work, ignore_errors=True)
        for name in names if work.exists() else ():
            shutil.rmtree(video_place(work, name), ignore_errors=True)

    def record(self, name: str) -> dict[str, Any] | None:
        """Return the record of a video, None where it is not done.

        Raises:
            ValueError: a record that is broken, or of another run.
        """
        path = self._record_path(name)
        if not path.exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or record.get("run") != self._run_hash:
            raise ValueError(
                f"{path}: was made with other settings, another model or another version than "
                f"those of {self.out / RUN_FILE}; remove it, or start the evaluation anew "
                "(--restart, restart=True)"
            )
        return record

    def store(
        self,
        name: str,
        record: Mapping[str, Any],
        result: VideoSegmentation | None,
        names: Mapping[str, Any],
    ) -> None:
        """Keep the record of a video that is done, and its result.

        Args:
            name: of the video.
            record: plain values.
            result: what to save, or None.
            names: what `save_result` takes besides.
        """
        for numbers in (METRICS_FILE, TABLE_FILE, CSV_FILE):  # of fewer videos than there are now
            (self.out / numbers).unlink(missing_ok=True)
        work = video_place(self.out / _UNFINISHED, name)
        shutil.rmtree(work, ignore_errors=True)
        while not work.is_dir():
            with suppress(FileNotFoundError):  # another process removes the folder above, as empty
                work.mkdir(parents=True, exist_ok=True)
        if result is not None:
            save_result(result, work / "result", **names)
            place = video_place(self.out / RESULTS, name)
            place.parent.mkdir(exist_ok=True)
            if place.exists():
                os.rename(place, work / "old")
            os.rename(work / "result", place)
        with (work / "record.json").open("w", encoding="utf-8") as file:
            json.dump({"run": self._run_hash, **record}, file)
        path = self._record_path(name)
        path.parent.mkdir(exist_ok=True)
        os.replace(work / "record.json", path)
        shutil.rmtree(work)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, which appears whole or not at all."""
        part = self.out / _UNFINISHED / f"{self._worker} {name}"
        while True:
            part.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process has ended, and removed the folder
                part.write_text(text, encoding="utf-8")
                break
        os.replace(part, self.out / name)

    def finish(self) -> None:
        """Remove the place of unfinished work, unless another process uses it."""
        with suppress(OSError):
            (self.out / _UNFINISHED).rmdir()

    def _record_path(self, name: str) -> Path:
        return video_place(self.out / _RECORDS, f"{name}.json")

    def _check_same(self, known: Any, path: str, run: Mapping[str, Any]) -> None:
        if not isinstance(known, dict) or known.get("format") != _FORMAT["format"]:
            raise ValueError(f"{path}: this is no evaluation of segblocks")
        old = {key: value for key, value in known.items() if key not in _FORMAT}
        changes = [f"{key} {change}" for key, change in _differences(old, run)]
        if known["version"] != _FORMAT["version"]:
            changes.append(f"version was {known['version']}, is {_FORMAT['version']}")
        if changes:
            raise ValueError(
                f"{self.out}: is the evaluation of something else: {'; '.join(changes)}. Choose "
                "another folder, or start it anew (--restart, restart=True)"
            )


def clear_folder(out: Path) -> None:
    """Remove an evaluation, and nothing else that lies in its folder.

    Args:
        out: the folder; nothing happens where there is none.

    Raises:
        ValueError: it holds other files of our names.
    """
    _check_owned(out)
    # The file that makes the folder ours goes last, so that this can be interrupted too.
    for name in sorted(_OWNED, key=lambda owned: owned == RUN_FILE):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_owned(out: Path) -> None:
    """Refuse a folder that holds files of our names, but is no evaluation."""
    strangers = [name for name in _OWNED if (out / name).exists()]
    if strangers and not (out / RUN_FILE).exists() and strangers != [_UNFINISHED]:
        raise ValueError(
            f"{out}: holds {', '.join(strangers)}, but no {RUN_FILE}, so this is no "
            "evaluation of segblocks; choose another folder"
        )


def _differences(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Where two plain values differ, by the path of the keys, and how."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            where = f"{place}.{key}" if place else key
            yield from _differences(old.get(key), new.get(key), where)
    elif isinstance(old, dict):
        yield place, "is not there any more"
    elif isinstance(new, dict):
        yield place, "was not there"
    elif old != new:
        yield place, f"was {_SHORT.repr(old)}, is {_SHORT.repr(new)}"
