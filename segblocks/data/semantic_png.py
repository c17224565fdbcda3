"""Semantic annotations as pictures of category ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segblocks.data.files import read_ids
from segblocks.data.indexed import at_frame
from segblocks.data.panoptic_png import category_indices
from segblocks.data.sample import IGNORE, Truth
from segblocks.text.vocabulary import Vocabulary

VOID = 255


@dataclass(frozen=True)
class SemanticTruth:
    """Read annotations from pictures of category ids.

    Args:
        maps: annotated frame index -> its PNG.
        size: (H, W) that all must have.
        vocabulary: of the classes.
        void: the values that mean "not labelled".
    """

    maps: Mapping[int, Path]
    size: tuple[int, int]
    vocabulary: Vocabulary
    void: tuple[int, ...] = (0, VOID)

    def __call__(self, t: int) -> Truth:
        """Return the annotation of frame ``t``, which has no objects."""
        path = at_frame(self.maps, t)
        categories = read_ids(path, self.size, channels=1)
        semantic = labels_from_categories(categories, self.vocabulary, str(path), void=self.void)
        return Truth((), np.zeros((0, *self.size), np.bool_), semantic)


def labels_from_categories(
    categories: NDArray[np.integer], vocabulary: Vocabulary, where: str, *, void: tuple[int, ...]
) -> NDArray[np.int16]:
    """Turn a map of category ids into one of class indices.

    Args:
        categories: (H, W), not negative.
        vocabulary: of the classes.
        where: the file, for messages.
        void: the values that mean "not labelled", of a category too; they become ``IGNORE``.

    Raises:
        ValueError: a value that is neither a category nor void.

    Example:
        >>> street = Vocabulary("street", ("road", "car"), category_ids=(7, 26))
        >>> labels_from_categories(np.array([[7, 26, 0]]), street, "map.png", void=(0,))
        array([[ 0,  1, -1]], dtype=int16)
    """
    indices = category_indices(vocabulary)
    highest = max(int(categories.max(initial=0)), *void, *indices)
    table = np.full(highest + 1, IGNORE - 1, np.int16)
    table[list(indices)] = list(indices.values())
    table[list(void)] = IGNORE
    labels = table[categories]
    if (stray := labels < IGNORE).any():
        raise ValueError(
            f"{where}: the picture has the value {int(categories[stray][0])}, which is no category "
            f"of {vocabulary.name}"
        )
    return labels


def categories_from_labels(
    labels: NDArray[np.integer], vocabulary: Vocabulary, where: str, *, void: int = VOID
) -> NDArray[np.uint8]:
    """Turn a map of class indices into one of category ids, the inverse.

    Args:
        labels: (H, W), ``IGNORE`` where nothing is labelled.
        vocabulary: of the classes.
        where: video and frame, for messages.
        void: what to write where nothing is labelled.

    Raises:
        ValueError: category ids that are void or beyond 8 bits.
    """
    ids = [vocabulary.category_id(i) for i in range(len(vocabulary))]
    if void in ids or min(ids) < 0 or max(ids) > 255:
        raise ValueError(
            f"{where}: category ids must lie in 0..255 and differ from {void}, "
            f"got {min(ids)} to {max(ids)}"
        )
    return np.array([*ids, void], np.uint8)[labels]
