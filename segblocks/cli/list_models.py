"""``segblocks list-models``: what there is to choose from."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("list-models", parents=[shared], help="list the models by name")
    parser.add_argument(
        "pattern", nargs="?", default="*", help="names with * and ?, such as '*swin*'"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the names that fit, each with its description and whether it comes with weights."""
    from segblocks import zoo
    from segblocks.zoo.registry import get_entry

    names = zoo.list_models(args.pattern)
    if not names:
        raise ValueError(
            f"no model fits {args.pattern!r}; there are {', '.join(zoo.list_models())}"
        )
    width = max(map(len, names))
    for name in names:
        entry = get_entry(name)
        included = "" if entry.default_checkpoint is None else "; trained weights included"
        print(f"{name:{width}}  {entry.description}{included}")
