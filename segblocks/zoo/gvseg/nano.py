"""A GvSeg that is slim enough for a CPU."""

from __future__ import annotations

from typing import Any

from segblocks.text.vocabulary import get_vocabulary
from segblocks.zoo.gvseg.config import GvSegConfig
from segblocks.zoo.mask2former_vis.nano import NANO_SIZES

_VOCABULARIES = tuple(get_vocabulary(name) for name in ("synthetic", "coco_panoptic"))


def _joined() -> dict[str, Any]:
    """The classes of both, those of one name once; things where either has them as things."""
    names = tuple(dict.fromkeys(name for v in _VOCABULARIES for name in v.classes))
    things = {v.classes[i] for v in _VOCABULARIES for i in v.thing_ids}
    return {
        "vocabulary": names,
        "things": tuple(i for i, name in enumerate(names) if name in things),
    }


# 4.4 M parameters, of which 2.9 M are the backbone's.
GVSEG_NANO = GvSegConfig(**_joined(), query_hidden_dim=192, propagation=0.75, **NANO_SIZES)
