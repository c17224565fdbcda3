"""``segblocks segment``: a video of one's own, from file to results."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segblocks.tasks import Task

_DEFAULT_VOCABULARY = {"vis": "youtube_vis_2021", "vps": "vipseg"}


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "segment", parents=[shared], help="segment a video file or a folder of images"
    )
    parser.add_argument("video", type=Path, help="video file, image file or folder of images")
    parser.add_argument("--model", required=True, help="a name of list-models")
    parser.add_argument("--checkpoint", type=Path, required=True, help="file with its weights")
    parser.add_argument("--task", required=True, choices=("vis", "vps", "vos", "pet"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    _add_task_options(parser.add_argument_group("what to look for"))
    _add_run_options(parser.add_argument_group("how to run"))
    parser.set_defaults(run=run)


def _add_task_options(group: Any) -> None:
    group.add_argument(
        "--mask",
        type=Path,
        help="vos: picture of the first frame's objects; each value, or colour, but 0 is one",
    )
    group.add_argument(
        "--point",
        type=_point,
        nargs="+",
        action="extend",
        metavar="X,Y",
        help="pet: a pixel of each object in the first frame, 0,0 being the top left one",
    )
    group.add_argument(
        "--vocabulary",
        help="vis, vps: name of a class list, or class names with commas between them "
        f"(default: {_DEFAULT_VOCABULARY['vis']} for vis, {_DEFAULT_VOCABULARY['vps']} for vps)",
    )
    group.add_argument(
        "--classes", type=_words, metavar="A,B", help="vis, vps: only these of the vocabulary"
    )


def _add_run_options(group: Any) -> None:
    group.add_argument("--clip-length", type=_count, metavar="N", help="frames a model call sees")
    group.add_argument("--overlap", type=_count, metavar="N", help="frames that two clips share")
    group.add_argument(
        "--short-side", type=_count, metavar="N", help="resize the shorter side to N pixels"
    )
    group.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")
    group.add_argument("--max-frames", type=_count, metavar="N", help="stop after N frames")
    group.add_argument(
        "--min-score", type=float, metavar="S", help="drop tracks that score lower than S"
    )
    group.add_argument(
        "--official-compat",
        action="store_true",
        help="join clips as the official code does, where that changes numbers",
    )
    group.add_argument("--no-progress", action="store_true", help="show no progress bar")
    group.add_argument("--no-overlay", action="store_true", help="write no overlay.mp4")


def run(args: argparse.Namespace) -> None:
    """Check everything that is cheap to check, then segment and save."""
    task = build_task(args)

    from segblocks import zoo
    from segblocks._optional import require
    from segblocks.cli.device import choose_device
    from segblocks.inference.engine import segment
    from segblocks.inference.video import open_video
    from segblocks.inference.writers import check_output

    check_output(args.out, args.task)
    if not args.no_overlay:
        require("av", "video")
    device = choose_device(args.device)
    with open_video(args.video, max_frames=args.max_frames) as video:
        model: Any = zoo.create_model(args.model, checkpoint=args.checkpoint)
        start = time.perf_counter()
        result = segment(
            model,
            video,
            task,
            clip_length=args.clip_length,
            overlap=args.overlap,
            short_side=args.short_side,
            device=device,
            progress=not args.no_progress,
            official_compat=args.official_compat,
        )
        seconds = time.perf_counter() - start
    if args.min_score is not None:
        result = result.filter(min_score=args.min_score)
    result.save(args.out, overlay=not args.no_overlay)
    print(
        f"{args.out}: {result.num_frames} frames, {len(result.tracks)} tracks, "
        f"{result.num_frames / seconds:.2f} frames/s on {device}"
    )


def build_task(args: argparse.Namespace) -> Task:
    """Make the task of the options, refusing those of other tasks.

    Raises:
        ValueError: an option that the task does not take or lacks, or whose content is wrong.
    """
    takes = {"vos": ("mask",), "pet": ("point",)}.get(args.task, ("vocabulary", "classes"))
    for option in ("mask", "point", "vocabulary", "classes"):
        if option not in takes and getattr(args, option) is not None:
            raise ValueError(f"--task {args.task} does not take --{option}")
    if takes[0] in ("mask", "point") and getattr(args, takes[0]) is None:
        raise ValueError(f"--task {args.task} needs --{takes[0]}")

    from segblocks.inference.mask_files import read_masks
    from segblocks.tasks import PET, VIS, VOS, VPS

    if args.task == "vos":
        masks, ids = read_masks(args.mask)
        return VOS(masks, ids)
    if args.task == "pet":
        return PET(args.point)
    vocabulary = args.vocabulary or _DEFAULT_VOCABULARY[args.task]
    classes = _words(vocabulary) if "," in vocabulary else vocabulary
    return {"vis": VIS, "vps": VPS}[args.task](classes, args.classes)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected X,Y such as 120,80, got {text!r}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise argparse.ArgumentTypeError(f"expected finite numbers, got {text!r}")
    return x, y


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    return [word for word in words if word]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)
