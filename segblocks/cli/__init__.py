"""The command line: thin words around the public functions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from segblocks.cli.termination import Terminated, raising_terminated

# The module of each command.
_COMMANDS = (
    "segment",
    "evaluate",
    "train",
    "convert",
    "export",
    "list_models",
    "info",
    "bench",
    "demo",
)
_USER_ERROR = 2
# As shells count a process that a signal has ended: 128 and its number.
_INTERRUPTED, _TERMINATED = 130, 143


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; no model code is imported for it."""
    from segblocks import __version__
    from segblocks.cli.arguments import Parser

    parser = Parser(prog="segblocks", description="Segment videos with the models of segblocks.")
    parser.add_argument("--version", action="version", version=f"segblocks {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--debug", action="store_true", help="show where an error comes from, with its traceback"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        import_module(f"segblocks.cli.{command}").add_parser(commands, shared)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    What a user can mend (a wrong argument, a missing or damaged file, a missing extra) is told on
    stderr without a traceback, and so is a GPU whose memory does not suffice; any other error is a
    bug and keeps its own. Ctrl-C and SIGTERM leave nothing half-written.

    Args:
        argv: the words after ``segblocks``; None takes those of the process.

    Returns:
        The exit status: 0, 2 after an error of use, 130 after Ctrl-C, 143 after SIGTERM.
    """
    debug = False
    try:
        with raising_terminated():
            args = build_parser().parse_args(argv)
            debug = args.debug
            args.run(args)
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("segblocks: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Terminated:
        print("segblocks: terminated", file=sys.stderr)
        return _TERMINATED
    except Exception as error:
        if debug or not _is_expected(error):
            raise
        print(f"segblocks: {_in_words(error)}", file=sys.stderr)
        return _USER_ERROR
    return 0


def _is_expected(error: Exception) -> bool:
    # A ModuleNotFoundError is a broken install; a missing extra is an ImportError of its own.
    return (
        isinstance(error, ValueError | OSError)
        or type(error) is ImportError
        or _is_out_of_memory(error)
    )


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch is not imported to tell that it has raised nothing.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
