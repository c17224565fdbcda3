"""Videos of moving squares, and a model that reads the truth from their colours.

Square number ``n`` is painted with a red value of ``20 * n``, so the model knows every mask
exactly, and the results show what the way from clips to video did to them. Squares move in steps of
4 pixels, the stride of mask logits; then enlarging the logits gives back each pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segblocks.nn.clip_output import ClipOutput, Prediction
from segblocks.tasks import CategoryTask, HintTask, Task
from segblocks.zoo.tarvis.policy import TarViSPolicy

NUM_SQUARES = 4
# Bilinear enlargement of a cell's corner gives (5/8)^2 inside and 3/8 just outside its edges.
_THRESHOLD = 0.383


def squares_video(
    num_frames: int,
    size: tuple[int, int] = (32, 64),
    present: Mapping[int, range | Sequence[int]] | None = None,
) -> NDArray[np.uint8]:
    """Make a video (T, H, W, 3) in which square ``n`` is seen in the frames ``present[n]``.

    Square ``n`` has 8 rows of its own, from ``8 * (n - 1)`` on, and moves to the right and back.
    """
    video = np.zeros((num_frames, *size, 3), np.uint8)
    for number, frames in (present or {1: range(num_frames)}).items():
        for t in frames:
            steps = size[1] // 4 - 3
            x = 4 * abs((t + 5 * number) % (2 * steps) - steps)
            video[t, 8 * number - 8 : 8 * number, x : x + 12, 0] = 20 * number
    return video


def truth(video: NDArray[np.uint8], number: int) -> NDArray[np.bool_]:
    """The masks (T, H, W) of a square."""
    return video[..., 0] == 20 * number


class OracleModel(nn.Module):
    """Segment squares exactly, through the interface of TarViS.

    Args:
        classes: square -> index of its class.
    """

    tasks = ("vis", "vps", "vos", "pet")

    def __init__(self, classes: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.classes = dict(classes or {n: n for n in range(1, NUM_SQUARES + 1)})
        self.extracted: list[int] = []
        self.asked: list[tuple[tuple[int, ...], list[Task]]] = []
        self.modes: list[bool] = []

    def extract(self, frames: Tensor) -> dict[int, Tensor]:
        self.extracted.append(frames.shape[1])
        padding = (0, -frames.shape[-1] % 64, 0, -frames.shape[-2] % 64)
        red = F.pad(frames[:, :, 0], padding)[..., 2::4, 2::4]
        numbers = (red.float() / 20).round()
        planes = [numbers == n for n in range(1, NUM_SQUARES + 1)]
        return {4: torch.stack([torch.ones_like(planes[0]), *planes], dim=2).float()}

    def forward(
        self,
        frames: Tensor,
        task: Sequence[Task],
        *,
        frame_indices: Sequence[int],
        state: Any,
        features: Mapping[int, Tensor],
    ) -> ClipOutput:
        self.asked.append((tuple(frame_indices), list(task)))
        self.modes.append(self.training)
        planes = features[4]
        assert planes.shape[1] == frames.shape[1] == len(frame_indices)
        parts: dict[str, Tensor] = {}
        class_logits = None
        slices: list[slice] = []
        ids: list[int] = []
        for one in task:
            if isinstance(one, CategoryTask):
                num_classes = len(one.resolve())
                parts["instance"], class_logits = self._instances(
                    planes, num_classes, frame_indices[0]
                )
                parts["background"] = _nothing(1)
                parts["semantic"] = self._semantic(num_classes)
        start = sum(len(part) for part in parts.values())
        objects: list[Tensor] = []
        for one in task:
            if isinstance(one, HintTask):
                padded = (4 * planes.shape[-2], 4 * planes.shape[-1])
                one.validate(*frames.shape[-2:], padded=padded)
                for object_id in one.object_ids:
                    number = _squares_under(one, object_id, frames)
                    square = _shows(number) if number else _nothing(1)
                    kind = next(iter(one.hints.values())).kind
                    queries = [square] if kind == "point" else [_nothing(1), square]
                    stop = start + len(queries)
                    slices.append(slice(start, stop))
                    start = stop
                    ids.append(object_id)
                    objects += queries
        if objects:
            parts["object"] = torch.cat(objects)
        groups, at = {}, 0
        for name, part in parts.items():
            groups[name] = slice(at, at + len(part))
            at += len(part)
        embeddings = torch.cat(tuple(parts.values()))[None]
        return ClipOutput(
            (Prediction(embeddings, embeddings, class_logits, "instance"),),
            planes,
            groups,
            (frames.shape[-2], frames.shape[-1]),
            tuple(frame_indices),
            tuple(slices),
            tuple(ids),
            state,
        )

    def video_policy(self, task: Sequence[Task], **settings: Any) -> TarViSPolicy:
        return TarViSPolicy(task, **{"short_side": 0, **settings})

    def _instances(self, planes: Tensor, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """One query for each square that the clip shows, in an order of the clip's own."""
        order = torch.randperm(2 * NUM_SQUARES, generator=torch.Generator().manual_seed(seed))
        queries = _nothing(2 * NUM_SQUARES)
        logits = torch.zeros(1, 2 * NUM_SQUARES, num_classes + 1)
        logits[..., -1] = 8.0
        for number, label in self.classes.items():
            if planes[:, :, number].any():
                place = int(order[number])
                queries[place] = _shows(number)
                logits[0, place, -1] = 0.0
                logits[0, place, label] = 8.0
        return queries, logits

    def _semantic(self, num_classes: int) -> Tensor:
        """Class 0 has a logit of 0 everywhere, and wins where no square is."""
        queries = _nothing(num_classes)
        queries[0] = 0.0
        for number, label in self.classes.items():
            queries[label] = _shows(number)[0]
        return queries


def _shows(number: int) -> Tensor:
    """The embedding (1, C) whose logits are positive on a square."""
    embedding = torch.zeros(1, NUM_SQUARES + 1)
    embedding[0, 0] = -10.0 * _THRESHOLD
    embedding[0, number] = 10.0
    return embedding


def _nothing(num: int) -> Tensor:
    embeddings = torch.zeros(num, NUM_SQUARES + 1)
    embeddings[:, 0] = -10.0
    return embeddings


def _squares_under(task: HintTask, object_id: int, frames: Tensor) -> int:
    """The number of the square that most of an object's hinted pixels lie on."""
    pixels: list[float] = []
    for t, hints in task.hints.items():
        red = frames[0, t, 0].cpu().numpy()
        if hints.kind == "mask":
            red = np.pad(red, [(0, -side % 64) for side in red.shape])
        for i, value in zip(hints.ids, hints.values, strict=True):
            if i == object_id and hints.kind == "mask":
                pixels += red[: value.shape[0], : value.shape[1]][value].tolist()
            elif i == object_id:
                x, y = np.floor(value + 0.5).astype(int)
                pixels.append(float(red[y, x]))
    numbers = np.round(np.asarray(pixels) / 20).astype(int)
    return int(np.bincount(numbers).argmax())
