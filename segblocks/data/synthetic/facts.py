"""What is true of the things of a scene, by geometry: yes, no, or not clear enough to say."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from segblocks.data.synthetic.scene import Scene, Series
from segblocks.data.synthetic.shapes import ROUND


class Verdict(IntEnum):
    """Kleene's three values; the lesser decides a conjunction."""

    FALSE = 0
    UNCLEAR = 1
    TRUE = 2


# In shorter sides of the frame, where not said otherwise.
_FAR = 0.12  # a motion that nobody misses
_NEAR = 0.05  # one that does not count
_BESIDE = 0.08  # how far apart "left of" begins
_TURN = (np.deg2rad(15), np.deg2rad(70))
_GROWTH = (np.log(1.12), np.log(1.35))


class Facts:
    """Judge statements about the things of a scene.

    A motion is true only where it holds both over the ground and in the frame, and false only
    where it holds in neither, so that camera motion makes it unclear rather than wrong. To stay is
    the exception: it is true of what rests on the ground, however the camera goes on over it.

    Args:
        scene: the video.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        height, width = scene.size
        side = min(scene.size)
        pixels = np.stack([scene.on_screen(thing) for thing in scene.things])
        self.on_screen = pixels / side
        inside = (pixels >= 0) & (pixels <= np.array([width - 1, height - 1]))
        self.in_view: NDArray[np.bool_] = np.asarray(inside.all(2))
        self.world = np.stack([thing.path for thing in scene.things])
        self.radius = np.stack([thing.radius for thing in scene.things])

    def moves(self, thing: int, direction: str) -> Verdict:
        """Does it move "left", "right", "up" or "down", all the time that it is seen?"""
        axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[direction]
        return _agree(
            [_moves(path, axis, sign) for path in self._seen(thing)], default=Verdict.UNCLEAR
        )

    def is_still(self, thing: int) -> Verdict:
        """Does it stay where it is on the ground?

        True by the ground alone, while it is in view all the time; false only where it goes far in
        the frame as well.
        """
        if not self.in_view[thing].any():
            return Verdict.UNCLEAR
        over_ground, in_frame = (np.ptp(path, axis=0).max() for path in self._seen(thing))
        if over_ground < 0.005 and self.in_view[thing].all():
            return Verdict.TRUE
        clear = over_ground > _FAR / 2 and in_frame > _FAR / 2
        return Verdict.FALSE if clear else Verdict.UNCLEAR

    def spins(self, thing: int) -> Verdict:
        """Does it turn about itself?"""
        turned = float(np.ptp(self.scene.things[thing].angle))
        if turned < _TURN[0]:
            return Verdict.FALSE
        visible = self.scene.things[thing].look.shape not in ROUND
        return Verdict.TRUE if turned > _TURN[1] and visible else Verdict.UNCLEAR

    def grows(self, thing: int, sign: int) -> Verdict:
        """Does it grow (``sign`` 1) or shrink (-1)?"""
        if not self.in_view[thing].any():
            return Verdict.UNCLEAR
        sizes = np.log(self.radius[thing])
        zoomed = sizes + np.log(self.scene.camera.zoom)
        return _agree(
            [_grows(sign * s[self.in_view[thing]]) for s in (sizes, zoomed)], Verdict.UNCLEAR
        )

    def leaves(self, thing: int) -> Verdict:
        """Is it out of the frame for some time, and in it before and after?"""
        scene = self.scene
        reach = scene.things[thing].reach * scene.camera.zoom
        sides = np.array(scene.size[::-1]) / min(scene.size)
        inside = np.minimum(self.on_screen[thing], sides - self.on_screen[thing]).min(1)
        out, whole = inside < -reach, inside > 0.3 * reach
        if out.any() and whole[0] and whole[-1]:
            return Verdict.TRUE
        return Verdict.FALSE if (inside > -0.3 * reach).all() else Verdict.UNCLEAR

    def beside(self, thing: int, other: int, direction: str) -> Verdict:
        """Is it left of, right of, above ("up") or below ("down") the other while both are seen?"""
        both = self.in_view[thing] & self.in_view[other]
        if both.mean() < 0.5:
            return Verdict.UNCLEAR
        axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[direction]
        apart = (self.on_screen[thing] - self.on_screen[other])[both]
        ahead, aside = sign * apart[:, axis], abs(apart[:, 1 - axis])
        if (ahead > _BESIDE).all() and (ahead > 0.6 * aside).all():
            return Verdict.TRUE
        return Verdict.FALSE if (ahead < 0).all() else Verdict.UNCLEAR

    def _seen(self, thing: int) -> list[Series]:
        """Its path over the ground and in the frame, while its centre is in view."""
        seen = self.in_view[thing]
        return [self.world[thing][seen], self.on_screen[thing][seen]]


Predicate = Callable[[int], Verdict]


def _moves(path: Series, axis: int, sign: int) -> Verdict:
    if len(path) < 2:
        return Verdict.UNCLEAR
    ahead = sign * path[:, axis]
    gained = float((ahead - np.minimum.accumulate(ahead)).max())
    lost = float((np.maximum.accumulate(ahead) - ahead).max())
    aside = float(np.ptp(path[:, 1 - axis]))
    if ahead[-1] - ahead[0] > max(_FAR, 2 * aside, 5 * lost):
        return Verdict.TRUE
    return Verdict.FALSE if gained < max(_NEAR, 0.2 * max(aside, lost)) else Verdict.UNCLEAR


def _grows(sizes: NDArray[np.float64]) -> Verdict:
    gained = float((sizes - np.minimum.accumulate(sizes)).max())
    lost = float((np.maximum.accumulate(sizes) - sizes).max())
    if sizes[-1] - sizes[0] > _GROWTH[1] and lost < 0.02:
        return Verdict.TRUE
    return Verdict.FALSE if gained < _GROWTH[0] else Verdict.UNCLEAR


def _agree(verdicts: list[Verdict], default: Verdict) -> Verdict:
    return verdicts[0] if len(set(verdicts)) == 1 else default
