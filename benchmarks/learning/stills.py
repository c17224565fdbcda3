"""J&F of a model on videos made of held-out photographs, next to what needs no training.

Real clips are few; these show whether a model tells an object from others and from what is around
it. Stills are turned and zoomed; composites move cut-out objects over them, which differ, or are
all copies of one. Half of the videos change their light. Given are masks of the largest objects of
the first frame, of one alone, or for each the pixel that is farthest from the mask's border.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from benchmarks.learning.baselines import Predict
from benchmarks.learning.clips import MAIN, ask_by_hints
from benchmarks.learning.judge import Judgement, as_json, judge_all
from benchmarks.learning.options import add_model, predictors_of
from benchmarks.learning.report import Table, this_command, write_report
from segblocks.data import VideoSample
from segblocks.data.clips import ChangingLight
from segblocks.data.dataset import VideoDataset
from segblocks.metrics import JAndF
from segblocks.training.recipes.videos import CompositesOfStills, StillsFolder, StillVideos

COCO, PEOPLE = StillsFolder("coco"), StillsFolder("people")
_LIGHT = ChangingLight(chance=1.0)

Videos = Callable[[Path | None], VideoDataset]


def scenes(size: tuple[int, int], num_frames: int) -> dict[str, Videos]:
    """Return what opens the videos of each scene."""
    frames = {"size": size, "num_frames": num_frames}
    pasted = {**frames, "num_objects": (2, 4), "object_size": (0.3, 0.7)}
    return {
        "stills": StillVideos(COCO, **frames),
        "people": StillVideos(PEOPLE, **frames),
        "composites": CompositesOfStills(COCO, **pasted),
        "twins": CompositesOfStills(COCO, **pasted, twins=1.0),
    }


def largest_objects(sample: VideoSample, count: int) -> VideoSample:
    """Return the video with the largest objects of its first frame alone."""
    truth = sample.read_truth(0)
    crowds = {info.id for info in sample.objects if info.is_crowd}
    areas = {
        identity: int(np.count_nonzero(mask))
        for identity, mask in zip(truth.ids, truth.masks, strict=True)
        if identity not in crowds
    }
    kept = sorted(areas, key=areas.__getitem__)[-count:]
    objects = tuple(info for info in sample.objects if info.id in kept)
    return replace(sample, objects=objects, hint_frames=dict.fromkeys(kept, 0))


def relit(sample: VideoSample, seed: int) -> VideoSample:
    """Return the video under sun and shade that move."""
    frames = np.stack([sample.read_frame(t) for t in range(sample.num_frames)])
    lit = _LIGHT(np.random.default_rng(seed), frames)
    return replace(sample, read_frame=lit.__getitem__)


def open_videos(videos: VideoDataset, count: int, num_objects: int) -> Iterator[VideoSample]:
    """Yield videos whose first frame shows an object, every other one under changing light."""
    index = found = 0
    while found < count:
        sample = largest_objects(videos[index], num_objects)
        index += 1
        if sample.objects:
            yield relit(sample, index) if found % 2 else sample
            found += 1


def measure(
    predictors: Mapping[str, Predict], args: argparse.Namespace, num_objects: int, hint: str
) -> dict[str, dict[str, Judgement]]:
    """Return scene -> predictor -> what it reached."""
    found = {}
    for scene, opened in scenes(tuple(args.size), args.frames).items():
        samples = open_videos(opened(args.stills), args.videos, num_objects)
        videos = [(sample, ask_by_hints(sample)[hint]) for sample in samples]
        found[scene] = judge_all(predictors, videos, [JAndF])
    return found


def table_of(title: str, judged: Mapping[str, Mapping[str, Judgement]]) -> Table:
    """Return J&F in each scene, and their mean."""
    rows = {}
    for name in next(iter(judged.values())):
        numbers = [found[name].summary["JAndF"][MAIN] for found in judged.values()]
        rows[name] = [*numbers, fmean(numbers)]
    return Table(title, [*judged, "mean"], rows)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model(parser)
    parser.add_argument(
        "--stills", type=Path, required=True, help="folder of pictures that no training saw"
    )
    parser.add_argument("--videos", type=int, default=10, help="of each scene")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320), metavar=("H", "W"))
    args = parser.parse_args()
    torch.manual_seed(0)
    predictors = predictors_of(args)
    tables, details = [], {}
    for num_objects, hint in ((1, "mask"), (4, "mask"), (4, "point")):
        judged = measure(predictors, args, num_objects, hint)
        title = f"J&F x 100, first {hint} given, at most {num_objects} objects a video"
        tables.append(table_of(title, judged))
        details[title] = as_json(judged)
    command = this_command("benchmarks.learning.stills", ("--stills", "--out", "--checkpoint"))
    print(write_report(args.out, tables, details, command=command))


if __name__ == "__main__":
    main()
