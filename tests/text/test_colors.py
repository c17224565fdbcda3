import numpy as np
import pytest

from segblocks.text import Vocabulary, class_colors, get_vocabulary, list_vocabularies


@pytest.mark.parametrize("name", list_vocabularies())
def test_a_subset_keeps_the_colours_of_the_whole(name: str) -> None:
    vocabulary = get_vocabulary(name)
    colors = class_colors(vocabulary)
    assert colors.shape == (len(vocabulary), 3)
    assert colors.dtype == np.uint8
    subset = vocabulary.subset(vocabulary.classes[5:2:-1])
    assert np.array_equal(class_colors(subset), colors[5:2:-1])


def test_street_scenes_have_the_colours_of_cityscapes() -> None:
    vocabulary = get_vocabulary("kitti_step")
    colors = dict(zip(vocabulary.classes, class_colors(vocabulary).tolist(), strict=True))
    assert colors["road"] == [128, 64, 128]
    assert colors["car"] == [0, 0, 142]
    assert len({tuple(color) for color in colors.values()}) == 19


def test_own_classes_have_the_colours_of_the_palette() -> None:
    colors = class_colors(Vocabulary("mine", ("a", "b")))
    assert colors.tolist() == [[128, 0, 0], [0, 128, 0]]
