"""Between label maps, where a pixel holds an object's id, and stacks of boolean masks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


def masks_from_label_map(
    label_map: NDArray[np.integer], *, background: int = 0, ignore: Collection[int] = ()
) -> tuple[NDArray[np.bool_], tuple[int, ...]]:
    """Split a label map, such as a palette PNG of DAVIS, into one mask an object.

    Args:
        label_map: (H, W), integers; each pixel holds the id of its object.
        background: the value of pixels that belong to no object.
        ignore: further values to leave out, such as 255 where a dataset means "unknown" by it.

    Returns:
        The masks (O, H, W) and the O ids, ascending.

    Raises:
        ValueError: ``label_map`` is not two-dimensional.
        TypeError: ``label_map`` does not hold integers.

    Example:
        >>> masks, ids = masks_from_label_map(np.array([[0, 2], [5, 2]]))
        >>> masks.shape, ids
        ((2, 2, 2), (2, 5))
    """
    labels = np.asarray(label_map)
    if labels.ndim != 2:
        raise ValueError(f"masks_from_label_map: label_map must be (H, W), got {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"masks_from_label_map: label_map must hold integers, got {labels.dtype}")
    left_out = {background, *ignore}
    ids = [int(value) for value in np.unique(labels) if int(value) not in left_out]
    return labels[None] == np.array(ids, dtype=labels.dtype)[:, None, None], tuple(ids)


def label_map_from_masks(
    masks: NDArray[np.bool_], ids: Sequence[int] | None = None, *, background: int = 0
) -> NDArray[np.int32]:
    """Paint masks into one label map, each over those before it.

    Args:
        masks: (O, H, W), boolean.
        ids: what to write for each mask; None counts from 1.
        background: what to write where no mask is.

    Returns:
        (H, W), int32.

    Raises:
        ValueError: ``masks`` is not (O, H, W) boolean, or ``ids`` has another length.

    Example:
        >>> label_map_from_masks(np.array([[[True, True]], [[False, True]]]), [7, 9])
        array([[7, 9]], dtype=int32)
    """
    stack = np.asarray(masks)
    if stack.ndim != 3 or stack.dtype != np.bool_:
        raise ValueError(
            "label_map_from_masks: masks must be (O, H, W) boolean, "
            f"got {stack.shape} {stack.dtype}"
        )
    values = range(1, len(stack) + 1) if ids is None else ids
    if len(values) != len(stack):
        raise ValueError(
            f"label_map_from_masks: ids must name {len(stack)} masks, got {len(values)}"
        )
    label_map = np.full(stack.shape[1:], background, dtype=np.int32)
    for mask, value in zip(stack, values, strict=True):
        label_map[mask] = value
    return label_map
