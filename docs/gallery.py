"""Draw the pictures of the gallery: ``python -m docs.gallery --out docs/images/gallery``.

The shipped ``tarvis_nano`` looks at a video of the synthetic world that no training has seen. Most
pictures show one clip, for which VIS and VOS run in one pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segblocks import create_model, segment
from segblocks._files import whole_folder
from segblocks.data import VideoSample
from segblocks.data.synthetic import open_held_out
from segblocks.inference import task_of
from segblocks.nn import (
    ClipOutput,
    DeformableAttention,
    MaskedCrossAttention,
    TemporalAttentionLayer,
)
from segblocks.ops import mask_iou
from segblocks.tasks import Task
from segblocks.viz import (
    AttentionMask,
    Call,
    Label,
    attention_cell,
    attention_masks,
    capture,
    contact_sheet,
    draw_attention_cell,
    draw_descriptor,
    draw_labels,
    draw_result,
    draw_sampling_points,
    draw_spotlight,
    feature_image,
    plot_queries,
    plot_taxonomy,
    sampling_points,
    side_by_side,
    token_at,
    token_center,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = NDArray[np.uint8]

SIZE = (192, 320)
NUM_FRAMES = 8
SHOWN = (0, 3, 7)
# The frame and the finest level of the neck, where positions are looked at.
FRAME, LEVEL = 2, 2


@dataclass(frozen=True)
class Clip:
    """A video, what the model returned for it as one clip, and what happened inside."""

    video: VideoSample
    model: Any

    @cached_property
    def frames(self) -> list[Picture]:
        """The frames, RGB (H, W, 3)."""
        return [self.video.read_frame(t) for t in range(self.video.num_frames)]

    def task(self, kind: str) -> Task:
        """What a benchmark of this kind asks about the video."""
        task = task_of(self.video, kind)
        assert task is not None
        return task

    @cached_property
    def run(self) -> tuple[ClipOutput, list[Call]]:
        """VIS and VOS in one pass."""
        frames = torch.from_numpy(np.stack(self.frames)).movedim(-1, 1)[None]
        tasks = [self.task("vis"), self.task("vos")]
        kinds = (DeformableAttention, TemporalAttentionLayer, MaskedCrossAttention)
        with capture(self.model, *kinds) as calls, torch.inference_mode():
            output = self.model(frames, tasks)
        return output, calls

    def calls(self, kind: type) -> list[Call]:
        """What modules of one kind in the neck and the decoder were called with."""
        inside = ("neck.", "decoder.")
        return [
            call
            for call in self.run[1]
            if isinstance(call.module, kind) and call.name.startswith(inside)
        ]

    @cached_property
    def centers(self) -> dict[int, tuple[float, float]]:
        """The pixel (x, y) of each object, by id, that is nearest to its middle in `FRAME`."""
        truth = self.video.read_truth(FRAME)
        centers = {}
        for number, mask in zip(truth.ids, truth.masks, strict=True):
            pixels = np.argwhere(mask)
            if len(pixels):
                y, x = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
                centers[number] = (float(x), float(y))
        return centers


def overlay(clip: Clip) -> Picture:
    """Masks, ids and contours over some frames."""
    drawn = _segmented(clip, "vos")
    return contact_sheet([drawn[t] for t in SHOWN], columns=len(SHOWN))


def beside(clip: Clip) -> Picture:
    """A frame, and what two tasks find in it."""
    t = SHOWN[-1]
    found = {kind: _segmented(clip, kind)[t] for kind in ("vos", "pet")}
    return side_by_side({"input": clip.frames[t], **found})


def sampling(clip: Clip) -> Picture:
    """Where deformable attention samples for some positions, layer by layer."""
    rows: dict[str, list[Picture]] = {}
    centers = list(clip.centers.values())[: len(SHOWN)]
    for n, call in enumerate(clip.calls(DeformableAttention), 1):
        points = sampling_points(call)
        tokens = [token_at(center, SIZE, points.spatial_shapes, LEVEL) for center in centers]
        rows[f"layer {n}: samples at stride 32 yellow, 16 pink, 8 blue"] = [
            draw_sampling_points(
                clip.frames[FRAME],
                points,
                token,
                row=FRAME,
                center=token_center(token, SIZE, points.spatial_shapes),
            )
            for token in tokens
        ]
    return contact_sheet(rows)


def cells(clip: Clip) -> Picture:
    """What one position attends to in the temporal layers: the cell and its surroundings."""
    number, center = next(iter(clip.centers.items()))
    around = _around(center)
    rows = {"input": [_enlarged(clip.frames[t][around]) for t in SHOWN]}
    for n, call in enumerate(clip.calls(TemporalAttentionLayer), 1):
        token = token_at(center, SIZE, call.inputs["spatial_shapes"], LEVEL)
        drawn = draw_attention_cell(clip.frames, attention_cell(call, FRAME, token))
        title = f"layer {n}, from the middle of object {number} in frame {FRAME}"
        rows[title] = [_enlarged(drawn[t][around]) for t in SHOWN]
    return contact_sheet(rows)


def masks(clip: Clip) -> Picture:
    """Where queries of objects may attend, layer by layer, and those that find the objects."""
    output, _ = clip.run
    layers = attention_masks(clip.calls(MaskedCrossAttention))
    found = {number: query for query, number in _found(output).items()}
    rows: dict[str, list[Picture]] = {}
    for part, number in list(zip(output.object_slices, output.object_ids, strict=True))[1:3]:
        rows[f"object {number}: a query made of its mask"] = _spotlights(clip, layers, part.start)
        rows[f"object {number}: the instance query that finds it"] = _spotlights(
            clip, layers, found[number]
        )
    return contact_sheet(rows)


def queries(clip: Clip) -> Figure:
    """Queries before and after the decoder."""
    output, _ = clip.run
    return plot_queries(output, (0, -1), ids=_found(output))


def features(clip: Clip) -> Picture:
    """Mask features as colours."""
    output, _ = clip.run
    colors = feature_image(output.mask_features[0], scale=4)
    return contact_sheet(
        {
            "input": [clip.frames[t] for t in SHOWN],
            "mask features, three principal components": [colors[t] for t in SHOWN],
        }
    )


def descriptor(clip: Clip) -> Picture:
    """Shape and position of two objects."""
    truth = clip.video.read_truth(FRAME)
    rows = {f"object {truth.ids[i]}": [draw_descriptor(truth.masks[i])] for i in (0, -1)}
    return contact_sheet(rows, gap=8)


def taxonomy(clip: Clip) -> Figure:
    """The classes that TMT-VIS looks for."""
    model: Any = create_model("tmt_vis_nano").eval()
    frames = torch.from_numpy(np.stack(clip.frames)).movedim(-1, 1)[None]
    task: Any = clip.task("vis")
    with torch.inference_mode():
        output = model(frames, task)
    return plot_taxonomy(output.taxonomy, task.resolve().classes)


PICTURES: dict[str, Callable[[Clip], Picture | Figure]] = {
    "overlay": overlay,
    "side_by_side": beside,
    "sampling_points": sampling,
    "attention_cells": cells,
    "attention_masks": masks,
    "queries": queries,
    "mask_features": features,
    "descriptor": descriptor,
    "taxonomy": taxonomy,
}


def _segmented(clip: Clip, kind: str) -> list[Picture]:
    result = segment(clip.model, clip.frames, clip.task(kind), short_side=0)
    return [draw_result(result, t, frame) for t, frame in enumerate(clip.frames)]


def _around(center: tuple[float, float], reach: int = 80) -> tuple[slice, slice]:
    """Rows and columns of a square around a pixel, moved into the frame."""
    starts = [
        int(np.clip(middle - reach, 0, side - 2 * reach))
        for middle, side in zip(reversed(center), SIZE, strict=True)
    ]
    return slice(starts[0], starts[0] + 2 * reach), slice(starts[1], starts[1] + 2 * reach)


def _enlarged(picture: Picture, scale: int = 2) -> Picture:
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def _spotlights(clip: Clip, layers: list[AttentionMask], query: int) -> list[Picture]:
    """What a query sees of a frame in each layer, at half size."""
    drawn = []
    for n, layer in enumerate(layers, 1):
        mask = layer.resized(*SIZE)[0, query, FRAME].numpy()
        picture = draw_spotlight(clip.frames[FRAME], mask)[::2, ::2]
        drawn.append(draw_labels(picture, [Label(1, 1, f"{n}: stride {layer.stride}", (0, 0, 0))]))
    return drawn


def _found(output: ClipOutput) -> dict[int, int]:
    """The instance query that overlaps each hinted object most -> id of the object."""
    logits = output.mask_logits[0].flatten(1)
    here = output.groups["instance"]
    objects = torch.stack([logits[part].amax(dim=0) > 0 for part in output.object_slices])
    best = mask_iou(logits[here] > 0, objects).argmax(dim=0).tolist()
    return {here.start + q: n for q, n in zip(best, output.object_ids, strict=True)}


def _save(picture: Picture | Figure, path: Path) -> None:
    if isinstance(picture, np.ndarray):
        Image.fromarray(picture).quantize(128).save(path, optimize=True)
    else:
        picture.savefig(path, dpi=100)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    out: Path = parser.parse_args().out
    world = open_held_out(
        seed=100, length=1, size=SIZE, num_frames=NUM_FRAMES, num_objects=(3, 4), leave=0.0
    )
    clip = Clip(world[0], create_model("tarvis_nano").eval())
    with whole_folder(out) as folder:
        for name, draw in PICTURES.items():
            _save(draw(clip), folder / f"{name}.png")
            print(f"{name}.png: {(folder / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
