"""Every row of classes where it belongs, and no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segblocks.text.vocabulary import get_vocabulary
from segblocks.training.class_rows import count_rows, fill_rows, matching_rows
from segblocks.training.recipes import get_recipe
from segblocks.zoo import CheckpointError
from segblocks.zoo.tarvis import FINETUNE_VOCABULARIES, PRETRAIN_VOCABULARIES

# Of the 34 classes of Cityscapes, those of its benchmark, as the official code counts them.
BENCHMARK = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)


def starts(vocabularies: tuple[str, ...]) -> dict[str, int]:
    sizes = np.cumsum([0, *[len(get_vocabulary(name)) for name in vocabularies]]).tolist()
    return dict(zip(vocabularies, sizes, strict=False))


def test_finetuning_takes_the_rows_of_the_official_code_and_no_others() -> None:
    recipe = get_recipe("tarvis_finetune_resnet50")
    rows = matching_rows(PRETRAIN_VOCABULARIES, FINETUNE_VOCABULARIES, recipe.initial.rows_from)
    there, here = starts(PRETRAIN_VOCABULARIES), starts(FINETUNE_VOCABULARIES)
    expected = {
        here[name] + i: there["cityscapes"] + row
        for name in ("kitti_step", "cityscapes_vps")
        for i, row in enumerate(BENCHMARK)
    }
    assert rows == expected
    assert len(rows) == 38


def test_own_vocabulary_first_then_the_table_in_its_order() -> None:
    source = ("coco_panoptic", "ovis", "kitti_step")
    table = {"ovis": ("coco_panoptic",), "cityscapes_vps": ("kitti_step", "coco_panoptic")}
    rows = matching_rows(source, ("ovis", "cityscapes_vps", "vipseg"), table)
    first = starts(source)
    assert [rows[i] for i in range(25)] == [first["ovis"] + i for i in range(25)]
    assert [rows[25 + i] for i in range(19)] == [first["kitti_step"] + i for i in range(19)]
    assert len(rows) == 25 + 19


def test_classes_are_compared_by_what_they_mean() -> None:
    table = {"youtube_vis_2019": ("coco_panoptic",)}
    rows = matching_rows(("coco_panoptic",), ("youtube_vis_2019",), table)
    coco, ours = get_vocabulary("coco_panoptic"), get_vocabulary("youtube_vis_2019")
    pairs = {ours.classes[i]: coco.classes[row] for i, row in rows.items()}
    assert pairs["person"] == "person"
    assert pairs["motorbike"] == "motorcycle"
    assert "mouse" not in pairs


def test_vocabularies_of_ones_own_have_rows_too() -> None:
    farm = ("farm", ("hen", "person", "grass"), (0, 1))
    rows = matching_rows(("ovis", farm), (farm, "ovis"), {"ovis": ("farm",), "farm": ("ovis",)})
    assert [rows[i] for i in range(3)] == [25, 26, 27]
    assert rows[3] == 0
    assert count_rows([farm, "ovis"]) == 28


def test_rows_are_filled_and_of_one_width() -> None:
    filled = fill_rows(torch.zeros(3, 2), torch.ones(2, 2), {2: 0})
    assert filled.tolist() == [[0, 0], [0, 0], [1, 1]]
    with pytest.raises(CheckpointError, match="has 3 channels, the model has 2"):
        fill_rows(torch.zeros(3, 2), torch.ones(2, 3), {})


def test_a_vocabulary_that_is_misspelt() -> None:
    farm = ("farm", ("hen", "grass"))
    assert len(matching_rows((farm,), ("ovis",), {"ovis": ("farm",), "uvo": ("farm",)})) == 0
    for table in ({"ovis": ("farms",)}, {"frm": ("ovis",)}):
        with pytest.raises(ValueError, match=r"no vocabulary '(farms|frm)'; did you mean 'farm'"):
            matching_rows((farm,), ("ovis",), table)
