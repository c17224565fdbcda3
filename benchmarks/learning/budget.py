"""The budget that all variants of an ablation share: where they start, steps, clips, the loop."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from torch import nn

from segblocks.data.clips import ClipDataset
from segblocks.training.initial import InitialWeights
from segblocks.training.loop import train
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings


def add_budget(parser: argparse.ArgumentParser, *, relative: str, steps: int = 6000) -> None:
    """Add the options that say from what, how long and on what frames variants are trained.

    Args:
        parser: to which they are added.
        relative: the default model to start from: one of another system, without what is compared.
        steps: the default number.
    """
    parser.add_argument(
        "--relative",
        default=relative,
        help="model with weights; what variants share with it starts as it is. Or none: they "
        "start with a backbone that knows ImageNet",
    )
    parser.add_argument("--frozen", nargs="*", default=[], help="parts that are not trained")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 208), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--device")


def initial_weights(args: argparse.Namespace) -> InitialWeights:
    """Return what all variants start from."""
    if args.relative == "none":
        return InitialWeights(backbone="efficientnet_lite0")
    return InitialWeights(relative=args.relative)


def loop_settings(
    args: argparse.Namespace,
    seed: int,
    *,
    steps: int | None = None,
    rate: float = 1.0,
    frozen: Sequence[str] = (),
) -> LoopSettings:
    """Return the loop of one run.

    Args:
        args: with the options of :func:`add_budget`.
        seed: of the run.
        steps: other than those of the options.
        rate: what their learning rate is multiplied by.
        frozen: parts that are not trained, besides those of the options.
    """
    count: int = args.steps if steps is None else steps
    return LoopSettings(
        steps=count,
        batch_size=args.batch,
        learning_rate=args.learning_rate * rate,
        backbone_factor=0.25,
        clip_norm=0.1,
        schedule=Schedule(warmup=count // 20, cosine=True),
        precision=args.precision,
        save_every=max(count // 5, 1),
        keep=1,
        seed=seed,
        workers=args.workers,
        chunk=1,
        frozen=(*args.frozen, *frozen),
    )


def train_to_end(
    step: nn.Module, dataset: ClipDataset, settings: LoopSettings, **options: Any
) -> None:
    """Train, or take a training up; leave where a signal stops it, as half a run is no run.

    Args:
        step: as of :func:`~segblocks.training.train`, and so are the others.
        dataset: of clips.
        settings: of the loop.
        options: such as ``out`` and ``device``.

    Raises:
        SystemExit: the training was stopped.
    """
    summary = train(step, dataset, settings, **options)
    if not summary.finished:
        raise SystemExit(f"stopped after {summary.step} steps; the same command goes on")
