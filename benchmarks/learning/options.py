"""What a script says on its command line: which model, on which videos."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.learning.baselines import Predict, all_baselines, ask_model
from segblocks.cli.device import choose_device
from segblocks.cli.load_model import load_model


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add what says which model to measure, and how to run it."""
    parser.add_argument("--model", help="a name, or a folder of save_pretrained; none: baselines")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--clip-length", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--short-side", type=int)
    parser.add_argument("--propagation", type=float, help="0: masks of hints by the decoder alone")
    parser.add_argument("--device")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="path of the .json and .md")


def add_held_out(parser: argparse.ArgumentParser, *, of: str = "") -> None:
    """Add what says which held-out videos of the synthetic world to measure on.

    Args:
        parser: to which it is added.
        of: of what there are so many videos, if not of all.
    """
    parser.add_argument("--seed", type=int, default=0, help="of the held-out worlds")
    parser.add_argument("--videos", type=int, default=20, help=of or None)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 416), metavar=("H", "W"))


def held_out(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options of :func:`add_held_out` say to ``open_held_out``."""
    return {
        "seed": args.seed,
        "length": args.videos,
        "num_frames": args.frames,
        "size": tuple(args.size),
    }


def model_of(args: argparse.Namespace) -> dict[str, Predict]:
    """Return the model that the options ask for, by its name; nothing where they ask for none."""
    if args.model is None:
        return {}
    names = ("clip_length", "overlap", "short_side", "propagation")
    given = {name: getattr(args, name) for name in names}
    settings = {name: value for name, value in given.items() if value is not None}
    model: Any = load_model(args.model, args.checkpoint).to(choose_device(args.device))
    return {Path(args.model).name: ask_model(model, **settings)}


def predictors_of(args: argparse.Namespace) -> dict[str, Predict]:
    """Return the baselines and the model that the options ask for."""
    baselines = {} if args.no_baselines else all_baselines()
    predictors = baselines | model_of(args)
    if not predictors:
        raise SystemExit("--no-baselines needs a --model")
    return predictors
