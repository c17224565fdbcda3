"""What happens in a video: things, ground and camera, before anything is drawn.

World coordinates: the unit is the frame's shorter side, x to the right, y downwards, the origin
about where the camera looks in the middle of the video. A thing hides those of less depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segblocks.data.synthetic.ground import GroundPlan

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """What a thing looks like, in words.

    Args:
        shape: its class.
        color: a word of the palette.
        pattern: of its surface.
    """

    shape: str
    color: str
    pattern: str


@dataclass(frozen=True)
class Thing:
    """One thing of a video.

    Args:
        id: from 1, or 0 for a thing that is not annotated.
        look: in words.
        rgb: its exact mean colour.
        grain: where its texture begins in the noise tile.
        depth: a thing hides those of less depth.
        motion: the kind of its path.
        path: (T, 2), its centre (x, y) in the world.
        radius: (T,) in world units.
        angle: (T,) clockwise as seen, in radians.
        stretch: (T,), the factor along its own x axis, whose inverse it has along y.
        twin: the id of its near-identical twin, or 0.
    """

    id: int
    look: Look
    rgb: tuple[float, float, float]
    grain: tuple[int, int]
    depth: int
    motion: str
    path: Series = field(repr=False)
    radius: Series = field(repr=False)
    angle: Series = field(repr=False)
    stretch: Series = field(repr=False)
    twin: int = 0

    @property
    def reach(self) -> Series:
        """Radius (T,) of the disc around its centre that it never leaves, in world units."""
        return self.radius * np.maximum(self.stretch, 1 / self.stretch)


@dataclass(frozen=True)
class Camera:
    """Where the camera looks.

    Args:
        center: (T, 2), the world point in the middle of the frame.
        zoom: (T,), how large a world unit appears, in shorter sides of the frame.
    """

    center: Series = field(repr=False)
    zoom: Series = field(repr=False)

    def half_view(self, size: tuple[int, int]) -> Series:
        """Half the (width, height) of what the camera sees, (T, 2), in world units."""
        height, width = size
        half = np.array([width, height]) / (2 * min(size))
        return half / self.zoom[:, None]


@dataclass(frozen=True)
class Scene:
    """A whole video.

    Args:
        name: of the video.
        size: (H, W).
        num_frames: T.
        things: annotated ones by id, then those that are not.
        camera: its path.
        ground: what lies below the things.
        light: (T,) factors of brightness.
        noise: standard deviation of the sensor noise, grey levels.
        noise_seed: of the sensor noise.
        texture: strength of the things' textures.
    """

    name: str
    size: tuple[int, int]
    num_frames: int
    things: tuple[Thing, ...]
    camera: Camera
    ground: GroundPlan = field(repr=False)
    light: Series = field(repr=False)
    noise: float = 0.0
    noise_seed: int = 0
    texture: float = 1.0

    def on_screen(self, thing: Thing) -> Series:
        """The centre of a thing in the frame, (T, 2), in pixels."""
        height, width = self.size
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        pixels = min(self.size) * self.camera.zoom[:, None]
        return (thing.path - self.camera.center) * pixels + middle

    def pixels_per_unit(self, t: int) -> float:
        """How many pixels a world unit spans in frame ``t``."""
        return float(min(self.size) * self.camera.zoom[t])
