"""Variants with several seeds, each trained and measured once, over as many calls as it takes."""

from __future__ import annotations

import argparse
import fcntl
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.learning.report import this_command, write_report
from benchmarks.learning.spread import mean_and_deviation

Numbers = dict[str, float]

# Options that do not change what a run is.
_FREE = ("out", "work", "device", "workers", "seeds", "variants")


def add_runs(parser: argparse.ArgumentParser, variants: Mapping[str, Any]) -> None:
    """Add the options that say which runs there are, and where they are kept.

    Args:
        parser: to which they are added.
        variants: by name.
    """
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--work", type=Path, help="folder of the trainings; --out without it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=variants, default=list(variants))


@dataclass(frozen=True)
class Ablation:
    """Compare variants of a model.

    The report is written after every run and read before each: what it holds is not repeated, and
    calls with other seeds may run at the same time and share it. (Some variants share a training,
    so that those of one seed follow each other.)

    Args:
        name: of the module in ``benchmarks.learning``, and of the report.
        baselines: name -> what measures it.
        variants: the names of all.
        measure: ``(variant, seed) -> numbers``, which trains, or takes a training up.
    """

    name: str
    baselines: Mapping[str, Callable[[], Numbers]]
    variants: Iterable[str]
    measure: Callable[[str, int], Numbers]

    def run(self, args: argparse.Namespace) -> None:
        """Do what is left to do, and print the report.

        Args:
            args: with the options of :func:`add_runs`, and others that all runs share.

        Raises:
            ValueError: the report that is there has runs of another budget.
        """
        for name, measure in self.baselines.items():
            if name not in self._known(args):
                self._add(name, 0, measure(), args)
        for seed in args.seeds:
            for name in args.variants:
                if str(seed) not in self._known(args).get(name, {}):
                    self._add(name, seed, self.measure(name, seed), args)
        with _alone(args.out):
            print(self._write(self._known(args), args))

    def _add(self, name: str, seed: int, numbers: Numbers, args: argparse.Namespace) -> None:
        """Put a run into the report."""
        print(name, seed, numbers, flush=True)
        with _alone(args.out):
            known = self._known(args)
            known.setdefault(name, {})[str(seed)] = numbers
            # In the same order, whichever run came first; what is no variant any more comes last.
            names = dict.fromkeys((*self.baselines, *self.variants, *known))
            self._write({name: known[name] for name in names if name in known}, args)

    def _known(self, args: argparse.Namespace) -> dict[str, dict[str, Numbers]]:
        path = args.out / f"{self.name}.json"
        if not path.is_file():
            return {}
        stored = json.loads(path.read_text())
        if stored["budget"] != (budget := budget_of(args)):
            other = sorted(k for k in budget if stored["budget"].get(k) != budget[k])
            raise ValueError(
                f"{path} holds runs with another {', '.join(other) or 'set of options'}; repeat "
                "its command, or give another --out"
            )
        return {
            name: {seed: _numbers(run) for seed, run in seeds.items()}
            for name, seeds in stored["runs"].items()
        }

    def _write(self, runs: Mapping[str, Mapping[str, Numbers]], args: argparse.Namespace) -> str:
        found = {name: list(seeds.values()) for name, seeds in runs.items() if seeds}
        every = dict.fromkeys(column for own in found.values() for run in own for column in run)
        tables = mean_and_deviation(found, list(every))
        command = this_command(f"benchmarks.learning.{self.name}", ("--out", "--work", "--device"))
        details = {"budget": budget_of(args), "runs": runs}
        return write_report(args.out / self.name, tables, details, command=command)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other calls from the report between reading and writing it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def budget_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that all runs of a report share, as plain values."""
    own = {name: value for name, value in vars(args).items() if name not in _FREE}
    return json.loads(json.dumps(own))


def run_folder(args: argparse.Namespace, name: str, seed: int) -> Path:
    """Return where the training of a variant is kept.

    Args:
        args: with the options of :func:`add_runs`.
        name: of the variant.
        seed: of the run.
    """
    plain = "".join(c if c.isalnum() or c == "." else "_" for c in name)
    return (args.work or args.out) / plain / f"seed_{seed}"


def _numbers(stored: Mapping[str, float | None]) -> Numbers:
    """What a run has; NaN is null in JSON."""
    return {column: math.nan if v is None else v for column, v in stored.items()}
