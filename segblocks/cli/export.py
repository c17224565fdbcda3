"""``segblocks export``: a model as a file that runs without segblocks."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from segblocks.cli import vocabulary
from segblocks.cli.arguments import count, path, words

if TYPE_CHECKING:
    from segblocks.tasks import Task

_BY_CLASS = ("vocabulary", "classes")
_OPTIONS_OF_TASK = {
    "vis": _BY_CLASS,
    "vps": _BY_CLASS,
    "vss": _BY_CLASS,
    "vos": ("objects",),
    "pet": ("objects",),
    "evs": ("objects",),
    "refvos": ("text",),
}
_SUFFIXES = (".onnx", ".pt2")


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "export", parents=[shared], help="write a model as ONNX, or as a program of torch.export"
    )
    parser.add_argument(
        "--model", required=True, help="a name of list-models, or a folder made by save_pretrained"
    )
    parser.add_argument(
        "--checkpoint",
        type=path,
        help="file with its weights, or such a folder; not where --model is one",
    )
    parser.add_argument("--task", required=True, choices=tuple(_OPTIONS_OF_TASK))
    parser.add_argument("--frames", type=count, required=True, help="of a clip")
    parser.add_argument(
        "--size", type=_size, required=True, metavar="HxW", help="of the frames, such as 128x224"
    )
    parser.add_argument("--vocabulary", help=vocabulary.HELP)
    parser.add_argument("--classes", type=words, help="some of them, with commas between")
    parser.add_argument(
        "--objects",
        type=count,
        help="vos: how many masks of the first frame go in, pet: points, evs: boxes (default: 1)",
    )
    parser.add_argument(
        "--text",
        action="append",
        metavar="SENTENCE",
        help="refvos: what to look for, which becomes part of the file; repeated for each object",
    )
    parser.add_argument(
        "--out", type=path, required=True, help="file to write, ending in .onnx or .pt2"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, and say what goes in and comes out."""
    if args.out.suffix not in _SUFFIXES:
        raise ValueError(f"{args.out}: the file to write must end in {' or '.join(_SUFFIXES)}")
    if not args.out.absolute().parent.is_dir():
        raise ValueError(f"{args.out}: there is no folder {args.out.parent}")
    task = _task(args)

    from segblocks.cli.load_model import load_model
    from segblocks.interop.exported import save_program
    from segblocks.interop.onnx import export_onnx

    model = load_model(args.model, args.checkpoint)
    export = export_onnx if args.out.suffix == ".onnx" else save_program
    signature = export(model, task, args.size, args.frames, args.out)
    for what, tensors in (("in", signature.inputs), ("out", signature.outputs)):
        for name, shape in tensors.items():
            print(f"{what:3}  {name:12}  {'x'.join(map(str, shape))}")
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB")


def _task(args: argparse.Namespace) -> Task:
    import numpy as np

    from segblocks import tasks

    takes = _OPTIONS_OF_TASK[args.task]
    for name in ("objects", "text", *_BY_CLASS):
        if name not in takes and getattr(args, name) is not None:
            raise ValueError(f"--task {args.task} takes no --{name}")
    if takes == _BY_CLASS:
        kind = {"vis": tasks.VIS, "vps": tasks.VPS, "vss": tasks.VSS}[args.task]
        asked = vocabulary.asked_vocabulary(args.task, args.vocabulary, args.model, args.checkpoint)
        return kind(asked, args.classes)
    if args.task == "refvos":
        if args.text is None:
            raise ValueError("--task refvos needs --text")
        return tasks.RefVOS(args.text)
    # Only their number and their size stay in the program.
    objects = 1 if args.objects is None else args.objects
    if args.task == "vos":
        return tasks.VOS(np.ones((objects, *args.size), bool))
    if args.task == "pet":
        return tasks.PET(np.zeros((objects, 2)))
    height, width = args.size
    return tasks.EVS(boxes=np.tile((0, 0, width, height), (objects, 1)))


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected HxW such as 128x224, got {text!r}")
    return int(found[1]), int(found[2])
