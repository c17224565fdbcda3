"""Draw a scene: frames with smooth edges, and who owns each pixel, exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segblocks.data.synthetic.ground import draw_ground
from segblocks.data.synthetic.scene import Scene, Thing
from segblocks.data.synthetic.shapes import signed_distance
from segblocks.data.synthetic.skin import shade_skin

_NOISE_TILE = 512


class Renderer:
    """Draw any frame of a scene, each on its own.

    A pixel belongs to the nearest thing (of most depth) whose outline contains the pixel's centre;
    where there is none, to the ground. Colours are smoothed over one pixel along outlines, as a
    camera does; ownership is not.

    Args:
        scene: what to draw.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._plane: _Plane | None = None
        self._last: tuple[int, NDArray[np.uint8]] | None = None

    def __getstate__(self) -> dict[str, object]:
        # What can be drawn again does not travel.
        return {"scene": self.scene, "_plane": None, "_last": None}

    def frame(self, t: int) -> NDArray[np.uint8]:
        """Draw frame ``t``: (H, W, 3) uint8 RGB."""
        self._check(t)
        scene = self.scene
        picture = self._ground().view(t)
        owner = np.zeros(scene.size, np.uint8)
        for number, thing, patch in self._patches(t):
            x, y, outside, window = patch
            pixels = scene.pixels_per_unit(t) * thing.radius[t]
            shade = shade_skin(thing.look.pattern, thing.grain, scene.texture, x, y, -outside)
            color = np.array(thing.rgb, np.float32) * shade[..., None]
            cover = np.clip(0.5 - outside * np.float32(pixels), 0, 1)[..., None]
            below = picture[window]
            mixed = below + cover * (color - below) + 0.5
            picture[window] = np.clip(mixed, 0, 255).astype(np.uint8)
            owner[window][outside <= 0] = number
        self._last = t, owner
        return self._expose(picture, t)

    def owner(self, t: int) -> NDArray[np.uint8]:
        """Tell who owns each pixel of frame ``t``.

        Returns:
            (H, W) uint8: k + 1 for the scene's k-th thing, 0 for the ground.
        """
        self._check(t)
        last = self._last
        if last is not None and last[0] == t:
            return last[1]
        owner = np.zeros(self.scene.size, np.uint8)
        for number, _, (_, _, outside, window) in self._patches(t):
            owner[window][outside <= 0] = number
        self._last = t, owner
        return owner

    def stuff(self, t: int) -> NDArray[np.uint8]:
        """Tell which stuff lies at each pixel of frame ``t``, also under things: (H, W) uint8."""
        self._check(t)
        return self._ground().stuff(t)

    def _ground(self) -> _Plane:
        plane = self._plane
        if plane is None:
            plane = self._plane = _Plane(self.scene)
        return plane

    def _patches(self, t: int) -> Iterator[tuple[int, Thing, _Patch]]:
        """The things in frame ``t``, farthest first."""
        order = sorted(enumerate(self.scene.things, 1), key=lambda item: item[1].depth)
        for number, thing in order:
            patch = _patch(self.scene, thing, t)
            if patch is not None:
                yield number, thing, patch

    def _expose(self, picture: NDArray[np.uint8], t: int) -> NDArray[np.uint8]:
        light = float(self.scene.light[t])
        if abs(light - 1) > 1 / 512:
            levels = np.clip(np.arange(256) * light, 0, 255).astype(np.uint8)
            picture = levels[picture]
        if self.scene.noise > 0:
            rng = np.random.default_rng([self.scene.noise_seed, t])
            picture = _add_noise(picture, rng, self.scene.noise)
        return picture

    def _check(self, t: int) -> None:
        if not 0 <= t < self.scene.num_frames:
            raise IndexError(
                f"{self.scene.name}: frame must be 0 to {self.scene.num_frames - 1}, got {t}"
            )


_Patch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], tuple[slice, slice]]


def _patch(scene: Scene, thing: Thing, t: int) -> _Patch | None:
    """The thing's own coordinates and signed distance in the window that it can touch."""
    height, width = scene.size
    center_x, center_y = scene.on_screen(thing)[t]
    reach = thing.reach[t] * scene.pixels_per_unit(t) + 1.5
    left, right = max(int(center_x - reach), 0), min(int(center_x + reach) + 2, width)
    top, bottom = max(int(center_y - reach), 0), min(int(center_y + reach) + 2, height)
    if left >= right or top >= bottom:
        return None
    dx = np.arange(left, right) - center_x
    dy = np.arange(top, bottom)[:, None] - center_y
    unit = thing.radius[t] * scene.pixels_per_unit(t)
    cos, sin, stretch = np.cos(thing.angle[t]), np.sin(thing.angle[t]), thing.stretch[t]
    x = _sum(dx * (cos / (unit * stretch)), dy * (sin / (unit * stretch)))
    y = _sum(dx * (-sin * stretch / unit), dy * (cos * stretch / unit))
    outside = signed_distance(thing.look.shape, x, y).astype(np.float32, copy=False)
    return x, y, outside, (slice(top, bottom), slice(left, right))


def _sum(row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float32]:
    return row.astype(np.float32) + column.astype(np.float32)


class _Plane:
    """The ground under all that the camera sees in a video, drawn once."""

    def __init__(self, scene: Scene) -> None:
        height, width = scene.size
        self.size = scene.size
        self.step = 1 / scene.camera.zoom  # plane pixels a frame pixel
        middle = scene.camera.center * min(scene.size)
        half = np.array([(width - 1) / 2, (height - 1) / 2]) * self.step[:, None]
        low = np.floor((middle - half).min(0)) - 1
        self.first = middle - half - low  # plane position of each frame's top left pixel
        wide, high = (np.ceil((middle + half).max(0) - low) + 2).astype(int)
        self.color, self.kind = draw_ground(scene.ground, int(high), int(wide))

    def view(self, t: int) -> NDArray[np.uint8]:
        """What the camera sees of it, between its pixels by linear interpolation."""
        rows, columns = self._positions(t)
        top, below = np.floor(rows).astype(int), _fraction(rows)
        left, beside = np.floor(columns).astype(int), _fraction(columns)
        strip = self.color[:, left[0] : left[-1] + 2].astype(np.uint16)
        strip = _mix(strip[top], strip[top + 1], below[:, None, None])
        left = left - left[0]
        mixed = _mix(strip.take(left, 1), strip.take(left + 1, 1), beside[:, None])
        return mixed.astype(np.uint8)

    def stuff(self, t: int) -> NDArray[np.uint8]:
        """The class of the plane's pixel nearest to each pixel of the frame."""
        rows, columns = self._positions(t)
        rows, columns = np.rint(rows).astype(int), np.rint(columns).astype(int)
        return self.kind[rows].take(columns, 1)

    def _positions(self, t: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        height, width = self.size
        x, y = self.first[t]
        return y + np.arange(height) * self.step[t], x + np.arange(width) * self.step[t]


def _fraction(at: NDArray[np.float64]) -> NDArray[np.uint16]:
    """In 256ths; the sums stay in 16 bits."""
    return np.floor((at - np.floor(at)) * 256).astype(np.uint16)


def _mix(
    near: NDArray[np.uint16], far: NDArray[np.uint16], share: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    mixed = near * (256 - share)
    far *= share
    mixed += far
    mixed += 128
    mixed >>= 8
    return mixed


def _add_noise(
    picture: NDArray[np.uint8], rng: np.random.Generator, sigma: float
) -> NDArray[np.uint8]:
    tile = _grain(round(sigma * 8))
    height, width = picture.shape[:2]
    top, left = rng.integers(_NOISE_TILE, size=2)
    rows = (np.arange(height) + top) % _NOISE_TILE
    columns = (np.arange(width) + left) % _NOISE_TILE
    noisy = picture.astype(np.int16)
    noisy += tile[rows].take(columns, 1)
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


_GRAINS: dict[int, NDArray[np.int16]] = {}


def _grain(eighths: int) -> NDArray[np.int16]:
    """One tile of noise for each strength, from which every frame takes its own part."""
    if eighths not in _GRAINS:
        rng = np.random.default_rng(eighths)
        field = rng.standard_normal((_NOISE_TILE, _NOISE_TILE, 3)) * eighths / 8
        _GRAINS[eighths] = np.rint(field).astype(np.int16)
    return _GRAINS[eighths]
