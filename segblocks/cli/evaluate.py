"""``segblocks evaluate``: a model, or its saved predictions, against a dataset."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from segblocks.cli.arguments import count, path, words

if TYPE_CHECKING:
    from segblocks.data import VideoDataset
    from segblocks.inference import Evaluation
    from segblocks.inference.evaluation.launch import Launch

SYNTHETIC = "synthetic"
# Longer tables are read in the file.
_MAX_LINES = 60
_OF_A_MODEL = ("checkpoint", "clip_length", "overlap", "short_side", "device")


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "evaluate",
        parents=[shared],
        help="measure a model, or saved predictions, on a dataset",
        description="Measure a model, or saved predictions, on a dataset. The same command takes "
        "up an interrupted evaluation where it was. Started by torchrun or accelerate launch, the "
        "processes share the videos.",
    )
    parser.add_argument("--dataset", required=True, help="such as davis2017, or synthetic")
    parser.add_argument(
        "--root", type=path, help="folder of the dataset; synthetic videos have none"
    )
    parser.add_argument("--split", default="val", help="part of the dataset (default: val)")
    parser.add_argument(
        "--dataset-option",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the dataset's reader, such as all_frames=true, or task=vps, preset=hard, seed=3, "
        "length=20 and others of WorldConfig for synthetic; may be repeated",
    )
    parser.add_argument(
        "--out",
        type=path,
        help="folder for numbers and results (default: segblocks-evaluation/DATASET-SPLIT, or "
        "synthetic-TASK)",
    )
    source = parser.add_argument_group("what to measure")
    source.add_argument(
        "--model", help="a name of list-models, or a folder made by save_pretrained"
    )
    source.add_argument(
        "--checkpoint",
        type=path,
        help="file with its weights, or such a folder; not where --model is one",
    )
    source.add_argument(
        "--predictions",
        type=path,
        metavar="DIR",
        help="instead of a model: folders of results, or a submission to the benchmark",
    )
    _add_run_options(parser.add_argument_group("how to run"))
    parser.set_defaults(run=run)


def _add_run_options(group: Any) -> None:
    group.add_argument(
        "--metrics", type=words, metavar="A,B", help="such as stq,vpq (default: the dataset's)"
    )
    group.add_argument("--clip-length", type=count, metavar="N", help="frames a model call sees")
    group.add_argument("--overlap", type=count, metavar="N", help="frames that two clips share")
    group.add_argument(
        "--short-side", type=count, metavar="N", help="resize the shorter side to N pixels"
    )
    group.add_argument(
        "--official-compat",
        action="store_true",
        help="join clips as the official code does, where that changes numbers",
    )
    group.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")
    group.add_argument("--limit", type=count, metavar="N", help="only the first N videos")
    group.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="only every N-th video from the I-th (1/N to N/N); what all have done is joined by "
        "the last, or by running without --shard",
    )
    group.add_argument(
        "--restart", action="store_true", help="forget what is in --out and start anew"
    )
    group.add_argument(
        "--submission",
        type=path,
        metavar="DIR",
        help="also write the predictions of all videos as the benchmark takes them",
    )
    group.add_argument("--no-progress", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> None:
    """Check everything that is cheap to check, then evaluate and print the table."""
    _check_source(args)

    from segblocks.inference import write_submission
    from segblocks.inference.evaluation.launch import find_launch

    launch = find_launch()
    if launch.is_shared and args.shard is not None:
        raise ValueError("--shard is what the launcher's processes do by themselves; leave it out")
    dataset = _open(args)
    if args.out is None:
        part = dataset.task if args.dataset == SYNTHETIC else args.split
        args.out = Path("segblocks-evaluation") / f"{args.dataset}-{part}"
    if args.submission is not None and args.submission.exists():
        raise ValueError(f"{args.submission}: is there already; choose another --submission")
    evaluation = _evaluate(args, dataset, launch)
    if evaluation is None:
        return
    print(_report(evaluation))
    if args.submission is not None and not evaluation.missing:
        source = args.predictions if args.model is None else args.out
        print(f"submission: {write_submission(dataset, source, args.submission)}")


def _open(args: argparse.Namespace) -> VideoDataset:
    from segblocks.data import open_dataset
    from segblocks.data.synthetic import open_held_out

    options = dict(args.dataset_option)
    if (args.root is None) != (args.dataset == SYNTHETIC):
        has = "are made, and have no" if args.root else "of an official dataset need its"
        raise ValueError(f"videos {has} --root")
    try:
        if args.root is None:
            return cast("VideoDataset", open_held_out(**options))
        return open_dataset(args.dataset, args.root, split=args.split, **options)
    except TypeError as error:
        if not options:
            raise
        raise ValueError(f"--dataset-option: {error}") from error


def _evaluate(args: argparse.Namespace, dataset: VideoDataset, launch: Launch) -> Evaluation | None:
    """Do this process' part; returns the numbers where this process is the one to tell them."""
    from segblocks.inference import evaluate
    from segblocks.inference.evaluation.records import clear_folder

    root = None if args.root is None else str(args.root.resolve())
    about = {"root": root, "split": args.split, "options": dict(args.dataset_option)}
    settings: dict[str, Any] = {}
    if args.model is not None:
        settings = _make_model(args, launch)
        about["model"] = args.model
    evaluate_part = partial(
        evaluate,
        dataset,
        predictions=args.predictions,
        out=args.out,
        metrics=args.metrics,
        limit=args.limit,
        shard=(launch.rank, launch.size) if launch.is_shared else args.shard or (0, 1),
        about=about,
        **settings,
    )
    progress = launch.is_first and not args.no_progress
    if not launch.is_shared:
        return evaluate_part(restart=args.restart, progress=progress)
    with launch.connect():
        if args.restart and launch.is_first:
            clear_folder(args.out)
        launch.wait()
        evaluate_part(progress=progress)
        launch.wait()
    # Nothing is left to be done but reading the records of all processes.
    return evaluate_part() if launch.is_first else None


def _check_source(args: argparse.Namespace) -> None:
    from segblocks.cli.load_model import check_words

    if (args.model is None) == (args.predictions is None):
        raise ValueError("give either --model with --checkpoint, or --predictions")
    if args.model is not None:
        check_words(args.model, args.checkpoint)
    if args.submission is not None and args.limit is not None:
        raise ValueError("--submission needs all videos, and so no --limit")
    given = [name for name in _OF_A_MODEL if getattr(args, name) is not None]
    given += ["official_compat"] if args.official_compat else []
    if args.model is None and given:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"--predictions does not take {words}")


def _make_model(args: argparse.Namespace, launch: Launch) -> dict[str, Any]:
    """The model, and what it is to be run with."""
    from segblocks.cli.device import choose_device
    from segblocks.cli.load_model import load_model

    device = choose_device(args.device, launch.local_rank)
    model = load_model(args.model, args.checkpoint)
    settings = {name: getattr(args, name) for name in ("clip_length", "overlap", "short_side")}
    if args.official_compat:
        settings["official_compat"] = True
    return {"model": model, "device": device, **settings}


def _report(evaluation: Evaluation) -> str:
    """What the command prints."""
    lines = [evaluation.table(per_video=len(evaluation.per_video) <= _MAX_LINES)]
    counts = evaluation.counts
    done = counts["videos"] - len(evaluation.missing)
    if unjudged := done - counts["judged"]:
        lines.append(f"{unjudged} videos have no annotation and were not judged")
    if evaluation.missing:
        lines.append(
            f"{done} of {counts['videos']} videos are done; these are not the numbers of the "
            "dataset. Run the other shards, or the command without --shard"
        )
    else:
        lines.append(f"all numbers: {evaluation.out / 'metrics.json'}")
    return "\n".join(lines)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _shard(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected I/N such as 1/4, got {text!r}")
    return int(part) - 1, int(parts)
