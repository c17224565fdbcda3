"""The video of the demo: one of the synthetic world that no training has seen."""

from __future__ import annotations

from segblocks.data.sample import VideoSample
from segblocks.data.synthetic import open_held_out

# The first hundred are left to whoever measures models.
_SEED = 100


def make_demo_video(num_frames: int = 12, height: int = 256, width: int = 416) -> VideoSample:
    """Make a short video with the truth of every task.

    Args:
        num_frames: T.
        height: H in pixels, at least 16.
        width: W in pixels, at least 16.

    Raises:
        ValueError: no frame, or too small a side.

    Example:
        >>> video = make_demo_video(2, 48, 64)
        >>> video.num_frames, video.size
        (2, (48, 64))
    """
    world = open_held_out(
        seed=_SEED,
        length=1,
        size=(height, width),
        num_frames=num_frames,
        num_objects=(3, 5),
        leave=0.0,
    )
    return world[0]
