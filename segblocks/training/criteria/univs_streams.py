"""The queries of a clip of UniVS whose targets are known, and how they are compared."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.losses.reidentification import ReidentificationLosses, reidentification_losses
from segblocks.nn import ClipOutput
from segblocks.training.univs_prompts import PromptedClip
from segblocks.zoo.univs.state import ClassPrompts


class Stream(NamedTuple):
    """Queries of a clip whose targets are known, at all L predictions.

    Args:
        masks: embeddings of masks, (L, N, T, C).
        looks: (L, N, T, C), by which objects are recognised; None where the output has none.
        logits: of classes, (L, N, K), or None.
        rows: (L, N) int64, the target of each.
        ids: (L, N) int64: those of one object have one number; below 0 stand classes, as
            ``-1 - class``.
        classes: (L, N) int64, the class of each, or None.
        shown: (L, N, T) bool, the frames that show the target.
    """

    masks: Tensor
    looks: Tensor | None
    logits: Tensor | None
    rows: Tensor
    ids: Tensor
    classes: Tensor | None
    shown: Tensor


def prompt_streams(
    output: ClipOutput, clip: TrainingClip, masks: Tensor
) -> tuple[Tensor, list[Stream]]:
    """The streams of prompts, that of classes last, and all targets, those of classes added."""
    rows = _rows_of_prompts(output, clip)
    ids = identities(masks)
    streams = []
    every = masks
    for kind in ("visual", "grounding", "category"):
        part = output.groups.get(kind, slice(0, 0))
        if part.stop == part.start:
            continue
        logits = class_logits_of(output, part)
        if kind == "category":
            classes = _asked_classes(clip)
            labels = labels_of(clip, logits)
            assert labels is not None
            united = [masks[labels == k].any(dim=0) for k in classes.tolist()]
            index = torch.arange(len(masks), len(masks) + len(classes), device=masks.device)
            every = torch.cat((masks, torch.stack(united)))
            own_ids = -1 - classes
        else:
            index = rows[kind].to(masks.device)
            own_ids = ids[index]
            labels = labels_of(clip, logits)
            classes = None if labels is None else labels[index]
        num_layers = len(output.predictions)
        streams.append(
            Stream(
                torch.cat([p.mask_embeddings[:, part] for p in output.predictions]),
                looks_of(output, part),
                logits if classes is not None else None,
                index.expand(num_layers, -1),
                own_ids.expand(num_layers, -1),
                None if classes is None else classes.expand(num_layers, -1),
                every.flatten(2).any(dim=2)[index].expand(num_layers, -1, -1),
            )
        )
    return every, streams


def _rows_of_prompts(output: ClipOutput, clip: TrainingClip) -> dict[str, Tensor]:
    """The target of each visual prompt and of each sentence.

    Raises:
        ValueError: their number is not that of the targets; names the video.
    """
    rows: dict[str, Tensor] = {}
    for kind in ("visual", "grounding"):
        part = output.groups.get(kind, slice(0, 0))
        asked = part.stop - part.start
        told = clip.rows if isinstance(clip, PromptedClip) and kind == "visual" else ()
        given = list(told) or list(range(len(clip.masks)))
        if asked and asked != len(given):
            raise ValueError(
                f"UniVSCriterion: clip {clip.name!r} has {len(given)} targets for {asked} prompts"
            )
        rows[kind] = torch.tensor(given, dtype=torch.int64)
    return rows


def _asked_classes(clip: TrainingClip) -> Tensor:
    """The classes that prompts name, as numbers of the clip's vocabulary."""
    asked = next(task for task in clip.tasks if isinstance(task, ClassPrompts))
    assert clip.vocabulary is not None
    numbers = [clip.vocabulary.index(name) for name in asked.vocabulary.classes]
    return torch.tensor(numbers, dtype=torch.int64, device=clip.masks.device)


def class_logits_of(output: ClipOutput, part: slice) -> Tensor | None:
    """(L, q, K), or None where no classes are asked for."""
    logits = [p.class_logits for p in output.predictions if p.class_logits is not None]
    return torch.cat([each[:, part] for each in logits]) if logits else None


def looks_of(output: ClipOutput, part: slice) -> Tensor | None:
    """The embeddings by which some queries are recognised, or None where a model has none."""
    looks = getattr(output, "embeddings", ())
    return torch.cat([each[:, part] for each in looks]) if looks else None


def labels_of(clip: TrainingClip, logits: Tensor | None) -> Tensor | None:
    """The classes of the targets, where classes are asked for."""
    if logits is None:
        return None
    if clip.labels is None:
        raise ValueError(f"UniVSCriterion: clip {clip.name!r} has no labels for {clip.task}")
    return clip.labels


def identities(masks: Tensor) -> Tensor:
    """For each target the first one with the same mask, (O,): sentences may mean one object."""
    areas = masks.flatten(1).sum(dim=1)
    ids = torch.arange(len(masks), device=masks.device)
    alike = (areas[:, None] == areas).tril(-1) & (areas > 0)
    for n, m in alike.nonzero().tolist():
        if ids[m] == m and ids[n] == n and torch.equal(masks[n], masks[m]):
            ids[n] = m
    return ids


def flat(looks: Tensor) -> Tensor:
    """(L, N, T, C) -> (L, N * T, C)."""
    return looks.flatten(1, 2)


def per_frame(values: Tensor, stream: Stream) -> Tensor:
    """(L, N) -> (L, N * T)."""
    return values[..., None].expand(stream.shown.shape).flatten(1)


def pairs_of(
    a: Tensor, b: Tensor, shown_a: Tensor, shown_b: Tensor, *, same: bool
) -> tuple[Tensor, Tensor]:
    """Which of (L, A) and (L, K) are of one object, and which pairs count."""
    pairs = shown_a[:, :, None] & shown_b[:, None]
    if same:
        pairs = pairs & ~torch.eye(a.shape[1], dtype=torch.bool, device=a.device)
    return (a[:, :, None] == b[:, None]) & pairs, pairs


def compare(
    anchors: Stream, keys: Stream, generator: torch.Generator, *, same: bool = False
) -> ReidentificationLosses | None:
    """Compare two streams, or one with itself; prompts of classes go by class."""
    if anchors.looks is None or keys.looks is None or not anchors.rows.numel():
        return None
    by_class = not same and bool((keys.ids < 0).all())
    if by_class and anchors.classes is None:
        return None
    a = -1 - anchors.classes if by_class and anchors.classes is not None else anchors.ids
    positives, pairs = pairs_of(
        per_frame(a, anchors),
        per_frame(keys.ids, keys),
        anchors.shown.flatten(1),
        keys.shown.flatten(1),
        same=same,
    )
    return reidentification_losses(
        flat(anchors.looks), flat(keys.looks), positives, pairs, generator=generator
    )
