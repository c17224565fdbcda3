"""What the tests of the synthetic world share."""

from __future__ import annotations

from segblocks.data.sample import VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.data.synthetic.scene import Scene


def tiny_world(seed: int = 0, preset: str = "tiny", **changes: object) -> SyntheticWorld:
    """A world of small frames, whatever the preset."""
    defaults: dict[str, object] = {"size": (48, 64), "num_frames": 8}
    return SyntheticWorld(world_config(preset, **{**defaults, **changes}), seed)


def scene_of(sample: VideoSample) -> Scene:
    """What a sample of the synthetic world is drawn from."""
    return sample.read_truth.__self__.scene  # type: ignore[attr-defined]
