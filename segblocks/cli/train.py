"""``segblocks train``: a recipe, data, and a model at the end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segblocks.cli.arguments import path

if TYPE_CHECKING:
    from segblocks.training.recipe import Recipe

_FAILED = 1


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "train",
        intermixed=True,
        parents=[shared],
        help="train a model by a recipe",
        description="Train a model by a recipe. The same command takes up an interrupted training "
        "where it was. Runs on several GPUs under `accelerate launch -m segblocks.cli train ...` "
        "or `torchrun -m segblocks.cli train ...`.",
    )
    parser.add_argument("recipe", nargs="?", help="such as tarvis_synthetic; --list names all")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="FIELD=VALUE",
        help="of the recipe, such as loop.steps=1000, model.embed_dim=128, sources.ovis.weight=0, "
        "initial.checkpoint=resnet50_pretrain.pth",
    )
    parser.add_argument("--list", action="store_true", help="list the recipes, or what one needs")
    parser.add_argument(
        "--data",
        type=_root,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="where a dataset of the recipe is; may be repeated",
    )
    parser.add_argument(
        "--skip-missing", action="store_true", help="leave out datasets without --data"
    )
    parser.add_argument("--out", type=path, help="folder for checkpoints, logs and the model")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="open the data, train one step of each task, report time and memory, write nothing",
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--resume", action="store_true", help="go on where --out is; there must be a checkpoint"
    )
    begin.add_argument("--restart", action="store_true", help="begin anew, whatever is in --out")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: the GPUs, if any)")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """List, try or train."""
    if args.list:
        print(_list_all() if args.recipe is None else _describe(args.recipe))
        return
    if args.recipe is None:
        raise ValueError("give a recipe; `segblocks train --list` names them")
    if not args.dry_run and args.out is None:
        raise ValueError("--out is missing, a folder for checkpoints, logs and the model")
    recipe, roots = _prepare(args)
    if args.dry_run:
        _try(recipe, roots, args.device)
    else:
        _train(recipe, roots, args)


def _prepare(args: argparse.Namespace) -> tuple[Recipe, dict[str, Path]]:
    """The recipe with what was changed of it, and the folders of its data."""
    from segblocks.training.recipes import get_recipe

    recipe = get_recipe(args.recipe).override(args.overrides)
    if args.skip_missing:
        recipe = recipe.skip_missing()
    roots: dict[str, Path] = {}
    for name, root in args.data:
        if name in roots:
            raise ValueError(f"--data: {name} is given twice")
        roots[name] = root
    recipe.used_sources(roots)
    if missing := [f"{name}={root}" for name, root in roots.items() if not root.is_dir()]:
        raise ValueError(f"--data: no such folder: {', '.join(missing)}")
    return recipe, roots


def _try(recipe: Recipe, roots: dict[str, Path], device: str | None) -> None:
    from segblocks.cli.device import choose_device
    from segblocks.training.dry_run import dry_run, report
    from segblocks.training.run import is_main_process

    if not is_main_process():
        return
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    found = dry_run(recipe, roots, device=choose_device(device), processes=processes)
    print(report(found))
    if found.problems:
        raise SystemExit(_FAILED)


def _train(recipe: Recipe, roots: dict[str, Path], args: argparse.Namespace) -> None:
    from segblocks.training.checkpoints import latest_checkpoint
    from segblocks.training.distributed import leave_processes
    from segblocks.training.run import is_main_process, run_recipe
    from segblocks.training.update import NonFiniteError

    if args.resume and latest_checkpoint(args.out) is None:
        raise ValueError(f"--resume: there is no checkpoint in {args.out}")
    try:
        result = run_recipe(
            recipe,
            roots,
            out=args.out,
            resume=not args.restart,
            progress=not args.no_progress,
            device=args.device,
        )
    except NonFiniteError as error:
        # Not a bug, as a rule, and so without a traceback.
        advice = "a smaller loop.learning_rate or loop.clip_norm, or loop.precision=fp32, may help"
        raise ValueError(f"{error}; {advice}") from error
    leave_processes()
    if is_main_process():
        step, place = result.summary.step, result.summary.checkpoint
        if result.model is None:
            print(f"stopped after step {step:,}, saved as {place}; the same command goes on")
        else:
            print(f"{result.model}: the model after {step:,} steps")
    if result.model is None:
        raise KeyboardInterrupt


def _list_all() -> str:
    from segblocks.training.recipes import get_recipe, list_recipes

    recipes = [get_recipe(name) for name in list_recipes()]
    width = max(len(recipe.name) for recipe in recipes)
    return "\n".join(f"{recipe.name:{width}}  {recipe.description}" for recipe in recipes)


def _describe(name: str) -> str:
    """What a recipe needs, and what can be changed of it."""
    from segblocks.training.recipes import get_recipe

    recipe = get_recipe(name)
    lines = [f"{recipe.name}: {recipe.description}", f"model={recipe.model}"]
    lines += [f"model.{key}={_value(v)}" for key, v in recipe.model_overrides.items()]
    for key, source in recipe.sources.items():
        tasks = ", ".join(f"{task} {share:g}" for task, share in source.tasks.items())
        data = f"; --data {source.root}=FOLDER" if source.root else ""
        optional = ", or without it" if source.root and source.optional else ""
        lines.append(f"sources.{key}.weight={source.weight:g} for {tasks}{data}{optional}")
    lines += [f"criterion.{key}={_value(v)}" for key, v in recipe.criterion_options.items()]
    for settings in ("loop", "initial"):
        content = vars(getattr(recipe, settings))
        lines += [f"{settings}.{key}={_value(value)}" for key, value in content.items()]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _root(text: str) -> tuple[str, Path]:
    name, equals, place = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, got {text!r}")
    return name, path(place)
