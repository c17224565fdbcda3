"""``segblocks convert``: a published checkpoint as safetensors of ours."""

from __future__ import annotations

import argparse
from typing import Any

from segblocks.cli.arguments import path


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "convert", parents=[shared], help="turn a published checkpoint into safetensors"
    )
    parser.add_argument("checkpoint", type=path, help="file of the published implementation")
    parser.add_argument("out", type=path, help="file to write, ending in .safetensors")
    parser.add_argument("--source", required=True, help="whose checkpoint it is, such as tarvis")
    parser.add_argument(
        "--weights",
        choices=("student", "ema"),
        default="student",
        help="which set to take where a file holds two (default: student)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert strictly: a missing, an extra or a misshapen key is an error."""
    if args.out.suffix != ".safetensors":
        raise ValueError(f"{args.out}: the file to write must end in .safetensors")
    if not args.out.absolute().parent.is_dir():
        raise ValueError(f"{args.out}: there is no folder {args.out.parent}")

    from segblocks import zoo
    from segblocks.zoo.checkpoint import check_finite, file_hash, save_safetensors

    read = zoo.load_checkpoint(args.checkpoint)
    try:
        state = zoo.convert_state_dict(read, args.source, weights=args.weights)
    except zoo.CheckpointError as error:
        raise zoo.CheckpointError(f"{args.checkpoint}: {error}") from error
    check_finite(state, args.checkpoint)
    origin = {
        "source": args.source,
        "source_file": args.checkpoint.name,
        "source_sha256": file_hash(args.checkpoint),
    }
    save_safetensors(state, args.out, origin)
    total = sum(value.numel() for value in state.values())
    print(f"{args.out}: {len(state)} tensors, {total:,} values")
    print(f"from {args.checkpoint} (sha256 {origin['source_sha256']})")
