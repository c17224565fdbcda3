"""``segblocks segment``: a video of one's own, from file to results."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segblocks.cli import vocabulary
from segblocks.cli.arguments import box, count, mask, path, point, score, words

if TYPE_CHECKING:
    from segblocks.tasks import Task

# What each task is told by; it needs one of them, but for classes.
_OPTIONS = {
    "vis": ("vocabulary", "classes"),
    "vps": ("vocabulary", "classes"),
    "vss": ("vocabulary", "classes"),
    "vos": ("mask",),
    "pet": ("point",),
    "evs": ("mask", "box", "point"),
    "refvos": ("text",),
}


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "segment", parents=[shared], help="segment a video file or a folder of images"
    )
    parser.add_argument("video", type=path, help="video file, image file or folder of images")
    parser.add_argument(
        "--model", required=True, help="a name of list-models, or a folder made by save_pretrained"
    )
    parser.add_argument(
        "--checkpoint",
        type=path,
        help="file with its weights, or such a folder; not where --model is one",
    )
    parser.add_argument("--task", required=True, choices=tuple(_OPTIONS))
    parser.add_argument("--out", type=path, required=True, help="folder for the results")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier result of this task in --out"
    )
    _add_task_options(parser.add_argument_group("what to look for"))
    _add_run_options(parser.add_argument_group("how to run"))
    parser.set_defaults(run=run)


def _add_task_options(group: Any) -> None:
    group.add_argument(
        "--mask",
        type=mask,
        action="append",
        metavar="[FRAME:]FILE",
        help="vos, evs: picture of the objects in a frame (default: the first, 0); each value, or "
        "colour, but 0 is an object; may be repeated for later frames",
    )
    group.add_argument(
        "--point",
        type=point,
        action="append",
        metavar="[FRAME:]X,Y",
        help="pet, evs: a pixel of an object in a frame (default: the first, 0), 0,0 being the top "
        "left one; repeated for each object",
    )
    group.add_argument(
        "--box",
        type=box,
        action="append",
        metavar="[FRAME:]X0,Y0,X1,Y1",
        help="evs: the edges of an object in a frame (default: the first, 0); repeated for each "
        "object; one kind of hint at a time",
    )
    group.add_argument(
        "--text",
        action="append",
        metavar="SENTENCE",
        help='refvos: what to look for, such as "the red star"; repeated for each object',
    )
    group.add_argument("--vocabulary", help=vocabulary.HELP)
    group.add_argument(
        "--classes", type=words, metavar="A,B", help="vis, vps, vss: only these of the vocabulary"
    )


def _add_run_options(group: Any) -> None:
    group.add_argument("--clip-length", type=count, metavar="N", help="frames a model call sees")
    group.add_argument("--overlap", type=count, metavar="N", help="frames that two clips share")
    group.add_argument(
        "--short-side", type=count, metavar="N", help="resize the shorter side to N pixels"
    )
    group.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")
    group.add_argument("--max-frames", type=count, metavar="N", help="stop after N frames")
    group.add_argument(
        "--min-score",
        type=score,
        metavar="S",
        help="0 to 1: drop tracks that score lower; in vps it takes the place of the model's own "
        "limit",
    )
    group.add_argument(
        "--official-compat",
        action="store_true",
        help="join clips as the official code does, where that changes numbers",
    )
    group.add_argument("--no-progress", action="store_true", help="show no progress bar")
    group.add_argument("--no-overlay", action="store_true", help="write no overlay.mp4")
    group.add_argument(
        "--report", action="store_true", help="write report.html, a page for browsers, too"
    )


def run(args: argparse.Namespace) -> None:
    """Check everything that is cheap to check, then segment and save."""
    task = build_task(args)

    from segblocks._optional import require
    from segblocks.cli.device import choose_device
    from segblocks.cli.load_model import check_words, load_model
    from segblocks.inference.engine import segment
    from segblocks.inference.video import open_video
    from segblocks.inference.writers import check_output

    check_words(args.model, args.checkpoint)
    check_output(args.out, args.task, overwrite=args.overwrite)
    if not args.no_overlay:
        require("av", "video")
    device = choose_device(args.device)
    with open_video(args.video, max_frames=args.max_frames) as video:
        model = load_model(args.model, args.checkpoint)
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
            **_settings(args),
        )
        seconds = time.perf_counter() - start
    if args.min_score is not None and args.task != "vps":
        result = result.filter(min_score=args.min_score)
    result.save(args.out, overlay=not args.no_overlay, report=args.report, overwrite=args.overwrite)
    print(
        f"{args.out}: {result.num_frames} frames, {len(result.tracks)} tracks, "
        f"{result.num_frames / seconds:.2f} frames/s on {device}"
    )


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What goes to the model's policy, as far as it was given."""
    settings: dict[str, Any] = {"official_compat": True} if args.official_compat else {}
    # Afterwards would leave holes in panoptic maps, where tracks compete for pixels.
    if args.min_score is not None and args.task == "vps":
        settings["min_score"] = args.min_score
    return settings


def build_task(args: argparse.Namespace) -> Task:
    """Make the task of the options, refusing those of other tasks.

    Raises:
        ValueError: an option that the task does not take or lacks, or whose content is wrong.
    """
    takes = _OPTIONS[args.task]
    for option in dict.fromkeys(option for options in _OPTIONS.values() for option in options):
        if option not in takes and getattr(args, option) is not None:
            raise ValueError(f"--task {args.task} does not take --{option}")
    given = [option for option in takes if getattr(args, option) is not None]
    if args.task in vocabulary.DEFAULTS:
        return _by_class(args)
    if len(given) != 1:
        names = " or ".join(f"--{option}" for option in takes)
        raise ValueError(f"--task {args.task} needs {names}{', one of them' * bool(given)}")

    from segblocks.tasks import EVS, PET, RefVOS

    if args.task == "refvos":
        return RefVOS(args.text)
    if given == ["mask"]:
        return _by_masks(args.task, args.mask)
    found: dict[int, list[tuple[float, ...]]] = {}
    for frame, values in getattr(args, given[0]):
        found.setdefault(frame, []).append(values)
    if args.task == "pet":
        return PET(found)
    return EVS(points=found) if given == ["point"] else EVS(boxes=found)


def _by_class(args: argparse.Namespace) -> Task:
    from segblocks.tasks import VIS, VPS, VSS

    asked = vocabulary.asked_vocabulary(args.task, args.vocabulary, args.model, args.checkpoint)
    return {"vis": VIS, "vps": VPS, "vss": VSS}[args.task](asked, args.classes)


def _by_masks(task: str, pictures: list[tuple[int, Path]]) -> Task:
    from segblocks.inference.mask_files import read_masks
    from segblocks.tasks import EVS, VOS

    read: dict[int, Any] = {}
    for frame, file in pictures:
        if frame in read:
            raise ValueError(f"--mask: frame {frame} has two pictures; a later one is FRAME:FILE")
        read[frame] = read_masks(file)
    masks = {frame: masks for frame, (masks, _) in read.items()}
    ids = {frame: ids for frame, (_, ids) in read.items()}
    return VOS(masks, ids) if task == "vos" else EVS(masks=masks, ids=ids)
