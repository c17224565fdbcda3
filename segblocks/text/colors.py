"""The colours of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segblocks.ops.palette import davis_palette
from segblocks.text.vocabulary import Vocabulary, get_vocabulary, list_vocabularies

_CITYSCAPES = {
    "unlabeled": (0, 0, 0),
    "ego vehicle": (0, 0, 0),
    "rectification border": (0, 0, 0),
    "out of roi": (0, 0, 0),
    "static": (0, 0, 0),
    "dynamic": (111, 74, 0),
    "ground": (81, 0, 81),
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "parking": (250, 170, 160),
    "rail track": (230, 150, 140),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "guard rail": (180, 165, 180),
    "bridge": (150, 100, 100),
    "tunnel": (150, 120, 90),
    "pole": (153, 153, 153),
    "polegroup": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "caravan": (0, 0, 90),
    "trailer": (0, 0, 110),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_OFFICIAL: dict[str, dict[str, tuple[int, int, int]]] = {
    "cityscapes": _CITYSCAPES,
    "cityscapes_vps": _CITYSCAPES,
    "kitti_step": _CITYSCAPES,
}


def class_colors(vocabulary: Vocabulary) -> NDArray[np.uint8]:
    """Give each class a colour that does not depend on which classes are chosen.

    Cityscapes, Cityscapes-VPS and KITTI-STEP have their official colours. Elsewhere a class has the
    colour of the DAVIS palette at its place in the full class list, so that a subset keeps the
    colours of the whole.

    Args:
        vocabulary: a public one, a subset of it, or one's own.

    Returns:
        RGB, (K, 3).

    Example:
        >>> class_colors(get_vocabulary("kitti_step").subset(["sky", "car"])).tolist()
        [[70, 130, 180], [0, 0, 142]]
    """
    official = _OFFICIAL.get(vocabulary.name)
    if official is not None and set(vocabulary.classes) <= set(official):
        return np.array([official[name] for name in vocabulary.classes], np.uint8)
    whole = vocabulary
    if vocabulary.name in list_vocabularies():
        known = get_vocabulary(vocabulary.name)
        whole = known if set(vocabulary.classes) <= set(known.classes) else vocabulary
    palette = davis_palette()
    places = [whole.index(name) % (len(palette) - 1) + 1 for name in vocabulary.classes]
    return palette[places].copy()
