"""Objects cut out of annotated stills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from segblocks.data.pseudo_video import ColorFunction
from segblocks.data.sample import Frame, Mask, VideoSample

# Pixels around the object, so that its edge can be soft.
_MARGIN = 3

# Enlarged further, an object would be a blur.
_MOST_ENLARGED = 2.0


@dataclass(frozen=True, eq=False)
class Cutout:
    """Hold an object of a still, cut out.

    Args:
        label: its class, or None.
        picture: (h, w, 3) uint8, of its box and a margin.
        mask: (h, w) bool; False on the margin.
    """

    label: int | None
    picture: Frame
    mask: Mask


@dataclass(frozen=True, eq=False)
class Layer:
    """Hold a cut-out ready to be pasted.

    Args:
        label: its class, or None.
        colors: (4, h, w) float32, red, green and blue up to 255 and opacity up to 1, which is 0
            along the border.
    """

    label: int | None
    colors: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.colors.shape[1], self.colors.shape[2]


def cut_objects(still: VideoSample, min_area: float) -> list[Cutout]:
    """Cut the things out of the first annotated frame of a video, crowds aside.

    Args:
        still: the video.
        min_area: share of the still that an object must fill.
    """
    if not still.annotated:
        return []
    t = still.annotated[0]
    truth, infos = still.read_truth(t), {info.id: info for info in still.objects}
    picture: Frame | None = None
    found = []
    for identity, mask in zip(truth.ids, truth.masks, strict=True):
        info = infos[identity]
        is_stuff = (
            still.vocabulary is not None
            and info.label is not None
            and not still.vocabulary.is_thing(info.label)
        )
        if info.is_crowd or is_stuff or np.count_nonzero(mask) < min_area * mask.size:
            continue
        picture = still.read_frame(t) if picture is None else picture
        found.append(_cut(picture, mask, info.label))
    return found


def make_layer(
    rng: np.random.Generator,
    cutout: Cutout,
    side: float,
    *,
    flip: bool,
    colors: ColorFunction | None,
) -> Layer:
    """Bring a cut-out to the size in which it is pasted, with a soft edge.

    Args:
        rng: the source of chance for ``colors``.
        cutout: the object.
        side: what the longer side of its box becomes; small ones are enlarged at most twofold.
        flip: mirror it.
        colors: changes its colours, or None.
    """
    size = cutout.mask.shape
    factor = min(side / (max(size) - 2 * _MARGIN), _MOST_ENLARGED)
    small = [max(1, round(length * factor)) for length in size]
    picture = _resize(cutout.picture.transpose(2, 0, 1), small).transpose(1, 2, 0)
    if colors is not None:
        picture = colors(rng, np.ascontiguousarray(picture))
    opacity = _resize(cutout.mask[None].astype(np.uint8) * np.uint8(255), small)[0]
    opacity = gaussian_filter(opacity.astype(np.float32) / 255, 0.6)
    # What is sampled beyond the layer takes its border, which must therefore be clear.
    opacity[[0, -1]] = opacity[:, [0, -1]] = 0
    layer = np.concatenate([picture.astype(np.float32), opacity[..., None]], axis=2)
    layer = np.ascontiguousarray((layer[:, ::-1] if flip else layer).transpose(2, 0, 1))
    return Layer(cutout.label, torch.from_numpy(layer))


def _cut(picture: Frame, mask: Mask, label: int | None) -> Cutout:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # Replicated colours rather than the still's own: the same at the still's border.
    around = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN))
    return Cutout(
        label, np.pad(picture[box], (*around, (0, 0)), mode="edge"), np.pad(mask[box], around)
    )


def _resize(channels: np.ndarray, size: list[int]) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(channels))
    return F.resize(tensor, size, antialias=True).numpy()
