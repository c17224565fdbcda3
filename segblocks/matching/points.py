"""Where masks are compared: points drawn uniformly, or where a prediction is unsure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NUM_POINTS = 12544
OVERSAMPLE = 3.0
IMPORTANCE = 0.75


def seeded_generator(*keys: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator whose stream depends on the keys alone.

    With the run's seed, the step and the name of the sample as keys, a sample gets the same points
    whichever process it falls to and whatever else is in its batch.

    Args:
        keys: what the stream depends on, in order.
        device: of the generator.

    Example:
        >>> a, b = (torch.rand(2, generator=seeded_generator(0, 7, "bear")) for _ in range(2))
        >>> torch.equal(a, b)
        True
    """
    digest = hashlib.sha256(repr(keys).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def uniform_points(
    shape: Sequence[int],
    num_points: int = NUM_POINTS,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw points uniformly from the frame.

    Args:
        shape: of the leading dimensions: () is one set for all masks and frames, (T,) one a frame,
            (N, T) one a mask and frame.
        num_points: P. The default is Mask2Former's.
        generator: the points are drawn on its device; None is the global one of ``device``.
        device: of the result; by default that of the generator.

    Returns:
        (*shape, P, 2), float32, (x, y) in [0, 1) of the frame.

    Raises:
        ValueError: less than one point.

    Example:
        >>> uniform_points((3,), 8).shape
        torch.Size([3, 8, 2])
    """
    if num_points < 1:
        raise ValueError(f"uniform_points: num_points must be at least 1, got {num_points}")
    return _uniform(shape, num_points, generator, device)


def importance_points(
    score: Callable[[Tensor], Tensor],
    shape: Sequence[int],
    num_points: int = NUM_POINTS,
    *,
    oversample: float = OVERSAMPLE,
    importance: float = IMPORTANCE,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    one_by_one: bool = False,
) -> Tensor:
    """Draw points, more of them where a score is high (PointRend section 3.2).

    Of ``oversample * P`` uniform candidates those with the highest score are kept until they are
    ``importance * P``; the rest is drawn uniformly anew.

    Args:
        score: (*shape, candidates, 2) -> (*shape, candidates), called without gradient: as a rule
            ``-|logit|``, or second best minus best where there are several classes.
        shape: of the leading dimensions, each with points of its own.
        num_points: P.
        oversample: candidates a point, at least 1; PointRend's and Mask2Former's default.
        importance: share of the points chosen by score; Mask2Former's default (UniVS: 0.5).
        generator: as for :func:`uniform_points`.
        device: as for :func:`uniform_points`.
        one_by_one: draw all points of a set before those of the next, so that a set has the same
            ones whether it is drawn with others or after them.

    Returns:
        (*shape, P, 2), float32, those chosen by score first.

    Raises:
        ValueError: a share outside [0, 1], fewer candidates than points, or less than one point.

    Example:
        >>> importance_points(lambda p: p[..., 0], (2,), 8).shape
        torch.Size([2, 8, 2])
    """
    if num_points < 1:
        raise ValueError(f"importance_points: num_points must be at least 1, got {num_points}")
    if not 0 <= importance <= 1:
        raise ValueError(f"importance_points: importance must be in [0, 1], got {importance}")
    if oversample < 1:
        raise ValueError(f"importance_points: oversample must be at least 1, got {oversample}")
    num_chosen = int(importance * num_points)
    num_rest, num_candidates = num_points - num_chosen, int(num_points * oversample)
    if num_chosen == 0:
        return _uniform(shape, num_rest, generator, device)
    counts = num_rest, num_candidates
    if one_by_one:
        sets = [
            [_uniform((), count, generator, device) for count in counts]
            for _ in range(math.prod(shape))
        ]
        rest, candidates = (
            torch.stack(drawn).view(*shape, count, 2)
            for drawn, count in zip(zip(*sets, strict=True), counts, strict=True)
        )
    else:
        rest, candidates = (_uniform(shape, count, generator, device) for count in counts)
    with torch.no_grad():
        scores = score(candidates)
    chosen = scores.topk(num_chosen, dim=-1, sorted=False).indices
    picked = candidates.gather(-2, chosen[..., None].expand(*chosen.shape, 2))
    return torch.cat((picked, rest), dim=-2)


def _uniform(
    shape: Sequence[int],
    num_points: int,
    generator: torch.Generator | None,
    device: torch.device | str | None,
) -> Tensor:
    drawn_on = device if generator is None else generator.device
    points = torch.rand(*shape, num_points, 2, generator=generator, device=drawn_on)
    return points if device is None else points.to(device)
