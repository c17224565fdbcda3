"""Show that a stream's memory does not grow with its length.

    python benchmarks/inference/stream_memory.py --frames 3000

Streams moving squares of 320x180 through TarViS with all four kinds of parts at work (VIS, a mask
and a point), on random weights: what they find does not matter for memory. Prints the resident set
size as it goes, and at the end its growth since frame 100. ``--small`` takes a network with fewer
layers, for machines without a GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import torch

import segblocks
from segblocks.tasks import PET, VIS, VOS

SIZE = (180, 320)
SMALL = {
    "neck_layers": 1,
    "decoder_layers": 3,
    "encoder_layers": 1,
    "neck_hidden_dim": 64,
    "decoder_hidden_dim": 64,
    "encoder_hidden_dim": 64,
}


def frames(number: int) -> Iterator[np.ndarray]:
    """Make frames with two squares that move over noise."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 80, (*SIZE, 3), dtype=np.uint8)
    for t in range(number):
        frame = noise.copy()
        x = 2 * abs(t % 240 - 120)
        frame[40:80, x : x + 40] = (200, 40, 40)
        frame[110:150, 270 - x : 310 - x] = (40, 200, 40)
        yield frame


def main() -> None:
    """Run the stream and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--clip-length", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    overrides: dict[str, Any] = SMALL if args.small else {}
    model: Any = segblocks.create_model("tarvis_resnet50", **overrides)
    mask = np.zeros((1, *SIZE), bool)
    mask[0, 40:80, 240:280] = True
    tasks = [VIS("youtube_vis_2021"), VOS(mask), PET([(50, 130)])]
    results = segblocks.stream(
        model,
        frames(args.frames),
        tasks,
        short_side=0,
        clip_length=args.clip_length,
        device=args.device,
    )
    process = psutil.Process()
    reference = peak = 0.0
    start = time.perf_counter()
    for first, *_ in results:
        resident = process.memory_info().rss / 1e6
        if first.index == 100:
            reference = peak = resident
        peak = max(peak, resident)
        if first.index % 100 == 0:
            rate = (first.index + 1) / (time.perf_counter() - start)
            print(f"frame {first.index}: {resident:.0f} MB, {rate:.1f} frames/s", flush=True)
    print(f"at most {peak - reference:.0f} MB above frame 100")


if __name__ == "__main__":
    main()
