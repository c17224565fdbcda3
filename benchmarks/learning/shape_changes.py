"""By how much objects of training clips change shape and position (GvSeg eq. 10)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from segblocks.data.clips import TrainingClip
from segblocks.data.sampler import Draw
from segblocks.nn import ShapePositionDescriptor, descriptor_change
from segblocks.training.recipes import get_recipe

_STRIDE = 4


def changes(clip: TrainingClip, num_frames: int, min_area: int) -> Iterator[tuple[int, float]]:
    """Yield the distance in frames and dH of each object, from the clip to its further frames.

    Args:
        clip: of some frames of a video and further ones.
        num_frames: how many belong together; of these counts the nearest that shows the object.
        min_area: of a mask at stride 4; smaller ones are passed over.
    """
    small = F.avg_pool2d(clip.masks.flatten(0, 1).float(), _STRIDE) >= 0.5
    small = small.unflatten(0, clip.masks.shape[:2])
    shapes = ShapePositionDescriptor()(small).histogram
    large = small.sum((-2, -1)) >= min_area
    times = clip.frame_indices
    for shape, there in zip(shapes, large.tolist(), strict=True):
        own = [t for t in range(num_frames) if there[t]]
        for t in range(num_frames, len(times)):
            if own and there[t]:
                near = min(own, key=lambda n, t=t: abs(times[n] - times[t]))
                yield abs(times[near] - times[t]), float(descriptor_change(shape[near], shape[t]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="gvseg_nano_cpu")
    parser.add_argument("--clips", type=int, default=25, help="of each source")
    args = parser.parse_args()
    recipe = get_recipe(args.recipe)
    dataset = recipe.build_dataset({})
    for number, name in enumerate(recipe.used_sources({})):
        rule = recipe.sources[name].rule
        drawn = (dataset[Draw(number, i, "vis", 0)] for i in range(args.clips))
        least = recipe.criterion_options["min_area"]
        found = [pair for clip in drawn for pair in changes(clip, rule.num_frames, least)]
        apart = torch.tensor([change for distance, change in found if distance > 1])
        print(
            f"{name}: {len(found)} pairs, median dH "
            f"{torch.tensor([change for _, change in found]).median():.2f}; of {len(apart)} that "
            f"are no neighbours {int((apart < 0.2).sum())} below 0.2, "
            f"{int((apart < 0.5).sum())} below 0.5"
        )


if __name__ == "__main__":
    main()
