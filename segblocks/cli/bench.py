"""``segblocks bench``: an operation or a model, beside what one would use instead."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from segblocks.cli.arguments import path, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segblocks.bench import Contender, Row, Setting, Suite

_DTYPES = ("fp32", "fp16", "bf16")
_DIRECTIONS = ("fwd", "fwd+bwd")


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "bench",
        parents=[shared],
        help="measure an operation or a model beside what one would use instead",
        description="Measure time and memory of an operation, a model or a part of one, and of "
        "what one would use instead: first whether each is right, then how fast, in turns.",
    )
    parser.add_argument(
        "op",
        metavar="OP",
        nargs="*",
        help="such as ms_deform_attn, tarvis_nano or tarvis_nano.neck; --list alone names them",
    )
    parser.add_argument(
        "--list", action="store_true", help="list shapes and contenders, and measure nothing"
    )
    parser.add_argument(
        "--shape",
        action="append",
        metavar="SHAPE",
        help="a name of --list, or sizes such as frames=5,height=360,width=640; may be repeated "
        "(default: the small ones on a CPU, all on a GPU)",
    )
    parser.add_argument(
        "--dtype", action="append", choices=_DTYPES, help="may be repeated (default: fp32)"
    )
    parser.add_argument(
        "--direction",
        action="append",
        choices=_DIRECTIONS,
        help="may be repeated (default: both)",
    )
    parser.add_argument(
        "--contenders", type=words, help="some of --list, with commas (default: all)"
    )
    parser.add_argument(
        "--device", help="such as cpu or cuda:1 (default: a GPU where there is one)"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=2.0, help="of measuring a contender (default: 2)"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "process"),
        default="wall",
        help="process: processor time, for a CPU that others use too; with one thread "
        "(OMP_NUM_THREADS=1) alone (default: wall)",
    )
    parser.add_argument(
        "--flush-l2", action="store_true", help="empty the cache of the GPU before each call"
    )
    parser.add_argument("--json", type=path, help="file to store the figures in")
    parser.add_argument("--note", help="about the machine, stored with them")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def run(args: argparse.Namespace) -> None:
    """Print a table a problem, and store all of them."""
    from segblocks.bench.machine import describe_machine
    from segblocks.bench.registry import get_suite
    from segblocks.bench.results import check_target, save_results
    from segblocks.cli.device import choose_device

    if not args.op:
        _answer_without_op(args)
        return
    device = choose_device(args.device)
    suites = [get_suite(name) for name in dict.fromkeys(args.op)]
    if args.flush_l2 and device.type != "cuda":
        raise ValueError(f"--flush-l2 needs a GPU, got --device {device}")
    if args.clock == "process" and device.type != "cpu":
        raise ValueError(f"--clock process is for the CPU, got --device {device}")
    if args.json is not None:
        check_target(args.json)
    settings = _settings(args, device)
    if args.list:
        print("\n\n".join(_described(suite, settings) for suite in suites))
        return
    # Before the first minutes pass: the load of the machine, and whatever is wrong with the words.
    machine = describe_machine(args.note, args.clock)
    problems = [(suite, *shape) for suite in suites for shape in _shapes(args, suite, device.type)]
    chosen = {suite.name: _contenders(args, suite) for suite in suites}
    rows: list[Row] = []
    for suite, name, shape in problems:
        for setting in settings:
            rows += _measure(args, suite, name, shape, setting, chosen[suite.name])
            # After each problem: a run that is stopped has what it measured.
            if args.json is not None:
                save_results(args.json, machine, rows)
    if args.json is not None:
        print(f"{args.json}: {len(rows)} rows")


def _answer_without_op(args: argparse.Namespace) -> None:
    """List what there is, or ask for it."""
    from segblocks.bench.registry import OPS, describe_names

    if not args.list:
        raise ValueError(f"bench: an OP is missing, such as {OPS[0]}; --list names all")
    print(describe_names())


def _settings(args: argparse.Namespace, device: Any) -> list[Setting]:
    from segblocks.bench import Setting

    return [
        Setting(device, dtype, direction)
        for dtype in dict.fromkeys(args.dtype or ("fp32",))
        for direction in dict.fromkeys(args.direction or _DIRECTIONS)
    ]


def _shapes(args: argparse.Namespace, suite: Suite, device_type: str) -> list[tuple[str, Any]]:
    from segblocks.bench import parse_shape

    names = args.shape or (suite.small if device_type == "cpu" else suite.shapes)
    return [parse_shape(name, suite.shapes) for name in dict.fromkeys(names)]


def _contenders(args: argparse.Namespace, suite: Suite) -> list[Contender]:
    known = {contender.name: contender for contender in suite.contenders}
    if args.contenders == []:
        raise ValueError(f"--contenders: no name is given; there are {', '.join(known)}")
    for name in args.contenders or ():
        if name not in known:
            raise ValueError(
                f"--contenders: {suite.name} has no {name!r}; there are {', '.join(known)}"
            )
    return [known[name] for name in dict.fromkeys(args.contenders or known)]


def _measure(
    args: argparse.Namespace,
    suite: Suite,
    name: str,
    shape: Any,
    setting: Setting,
    contenders: Sequence[Contender],
) -> list[Row]:
    from segblocks.bench import compare
    from segblocks.bench.table import as_text, key_of

    rows = compare(
        suite,
        name,
        shape,
        setting,
        contenders,
        budget=args.seconds,
        flush_l2=args.flush_l2,
        clock=args.clock,
    )
    print(as_text(key_of(rows[0]), rows[0].sizes, rows), end="\n\n", flush=True)
    return rows


def _described(suite: Suite, settings: Sequence[Setting]) -> str:
    """The shapes and contenders of a suite, and what keeps a contender from running here."""
    lines = [suite.name, "  shapes:"]
    lines += [f"    {name}: {shape}" for name, shape in suite.shapes.items()]
    lines += ["  contenders:"]
    for contender in suite.contenders:
        reasons = dict.fromkeys(filter(None, map(contender.unavailable, settings)))
        missing = f" (not here: {'; '.join(reasons)})" if reasons else ""
        lines.append(f"    {contender.name}: {contender.about}{missing}")
    return "\n".join(lines)
