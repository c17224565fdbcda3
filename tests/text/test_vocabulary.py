from __future__ import annotations

import pytest

from segblocks.text.vocabulary import Vocabulary, get_vocabulary, list_vocabularies

# name: (classes, things), as the datasets' papers and TarViS' query blocks count them.
SIZES = {
    "ade20k": (150, 100),
    "cityscapes": (34, 10),
    "cityscapes_vps": (19, 8),
    "coco_panoptic": (133, 80),
    "kitti_step": (19, 2),
    "mapillary": (65, 37),
    "ovis": (25, 25),
    "synthetic": (20, 12),
    "uvo": (81, 81),
    "vipseg": (124, 58),
    "vspw": (124, 58),
    "youtube_vis_2019": (40, 40),
    "youtube_vis_2021": (40, 40),
}

# name: [(index, category id, class)], first, last and some between.
PLACES = {
    "ade20k": [(0, 1, "wall"), (12, 13, "person"), (80, 81, "bus"), (149, 150, "flag")],
    "cityscapes": [(0, 0, "unlabeled"), (7, 7, "road"), (26, 26, "car"), (33, 33, "bicycle")],
    "cityscapes_vps": [(0, 0, "road"), (11, 11, "person"), (18, 18, "bicycle")],
    "coco_panoptic": [
        (0, 1, "person"),
        (11, 13, "stop sign"),
        (60, 67, "dining table"),
        (79, 90, "toothbrush"),
        (80, 92, "banner"),
        (100, 149, "road"),
        (132, 200, "rug-merged"),
    ],
    "kitti_step": [(10, 10, "sky"), (11, 11, "person"), (13, 13, "car")],
    "mapillary": [(0, 1, "Bird"), (19, 20, "Person"), (55, 56, "Car"), (64, 65, "Ego Vehicle")],
    "ovis": [(0, 1, "Person"), (11, 12, "Poultry"), (24, 25, "Vehical")],
    "uvo": [(0, 1, "person"), (79, 90, "toothbrush"), (80, 91, "other")],
    "synthetic": [(0, 1, "circle"), (11, 12, "arrow"), (12, 13, "grass"), (19, 20, "brick")],
    "vipseg": [(0, 0, "wall"), (48, 48, "car"), (60, 60, "person"), (123, 123, "train")],
    "vspw": [(0, 1, "wall"), (48, 49, "car"), (60, 61, "person"), (123, 124, "train")],
    "youtube_vis_2019": [(0, 1, "person"), (5, 6, "sedan"), (39, 40, "tennis_racket")],
    "youtube_vis_2021": [(0, 1, "airplane"), (25, 26, "person"), (39, 40, "zebra")],
}


def test_every_dataset_is_there():
    assert list_vocabularies() == tuple(sorted(SIZES))


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_uniqueness(name):
    vocabulary = get_vocabulary(name)
    assert (len(vocabulary), len(vocabulary.thing_ids)) == SIZES[name]
    assert len(set(vocabulary.classes)) == len(vocabulary)
    assert all(c == c.strip() and c for c in vocabulary.classes)
    ids = [vocabulary.category_id(i) for i in range(len(vocabulary))]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("name", PLACES)
def test_known_places(name):
    vocabulary = get_vocabulary(name)
    for index, category, label in PLACES[name]:
        assert vocabulary.classes[index] == label
        assert vocabulary.category_id(index) == category
        assert vocabulary.index(label) == index


def test_thing_ids_are_the_official_ones():
    assert get_vocabulary("kitti_step").thing_ids == (11, 13)
    assert get_vocabulary("cityscapes_vps").thing_ids == tuple(range(11, 19))
    assert get_vocabulary("cityscapes").thing_ids == tuple(range(24, 34))
    assert get_vocabulary("coco_panoptic").thing_ids == tuple(range(80))
    vipseg = [2, 4, 8, 10, 41, 43, 44, *range(46, 53), *range(54, 57), *range(60, 66), 72, 74]
    vipseg += [*range(76, 80), *range(82, 93), *range(95, 98), *range(99, 103), *range(106, 110)]
    vipseg += [*range(114, 119), 122, 123]
    assert get_vocabulary("vipseg").thing_ids == tuple(vipseg)
    assert get_vocabulary("vspw").thing_ids == tuple(vipseg)


def test_cityscapes_vps_and_kitti_step_count_the_evaluated_classes_of_cityscapes():
    evaluated = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
    raw = get_vocabulary("cityscapes").classes
    expected = tuple(raw[i] for i in evaluated)
    assert get_vocabulary("cityscapes_vps").classes == expected
    assert get_vocabulary("kitti_step").classes == expected


def test_youtube_vis_2021_is_alphabetical():
    classes = get_vocabulary("youtube_vis_2021").classes
    assert list(classes) == sorted(classes)


def test_stuff_and_things_partition_the_classes():
    vocabulary = get_vocabulary("vipseg")
    assert sorted(vocabulary.thing_ids + vocabulary.stuff_ids) == list(range(124))
    assert vocabulary.is_thing(60)
    assert not vocabulary.is_thing(0)
    with pytest.raises(IndexError, match="0 to 123, got 124"):
        vocabulary.is_thing(124)
    with pytest.raises(IndexError, match="got -1"):
        vocabulary.is_thing(-1)


def test_subset_keeps_the_order_asked_for():
    subset = get_vocabulary("coco_panoptic").subset(["road", "stop sign", "person"])
    assert subset.classes == ("road", "stop sign", "person")
    assert subset.thing_ids == (1, 2)
    assert [subset.category_id(i) for i in range(3)] == [149, 13, 1]


def test_misses_list_close_matches():
    with pytest.raises(ValueError, match="did you mean 'coco_panoptic'"):
        get_vocabulary("coco_panotic")
    with pytest.raises(ValueError, match="known are ade20k, cityscapes"):
        get_vocabulary("")
    with pytest.raises(ValueError, match="'surfboard'"):
        get_vocabulary("youtube_vis_2021").index("surf board")
    with pytest.raises(ValueError, match=r"no class 'q'$"):
        Vocabulary("own", ("car",)).index("q")


def test_wrong_vocabularies_raise():
    with pytest.raises(TypeError, match="strings"):
        Vocabulary("own", "car")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="strings"):
        Vocabulary("own", (1, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        Vocabulary("own", ())
    with pytest.raises(ValueError, match=r"\['car'\] more than once"):
        Vocabulary("own", ("car", "dog", "car"))
    with pytest.raises(ValueError, match=r"0 to 1, got \[2\]"):
        Vocabulary("own", ("car", "dog"), {0, 2})
    with pytest.raises(ValueError, match="2 numbers, got 1"):
        Vocabulary("own", ("car", "dog"), category_ids=(3,))
    with pytest.raises(TypeError, match="list of class names"):
        get_vocabulary("ovis").subset("Person")
    with pytest.raises(ValueError, match="more than once"):
        get_vocabulary("ovis").subset(["Person", "Person"])
    with pytest.raises(ValueError, match="at least one"):
        get_vocabulary("ovis").subset([])


def test_vocabularies_are_values():
    assert Vocabulary("own", ["car", "dog"]) == Vocabulary("own", ("car", "dog"), {0, 1}, (1, 2))
    assert hash(get_vocabulary("ovis")) == hash(get_vocabulary("ovis"))
    assert repr(get_vocabulary("vipseg")) == "Vocabulary('vipseg', 124 classes, 58 things)"
