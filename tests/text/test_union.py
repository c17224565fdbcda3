import pytest

from segblocks.text import Vocabulary, canonical_name, get_vocabulary, list_vocabularies, unite


def test_the_taxonomy_of_the_instance_datasets() -> None:
    union = unite(["youtube_vis_2019", "ovis", "uvo"])
    assert len(union.vocabulary) == 105
    shared = {
        union.vocabulary.classes[i]
        for i in set(union.indices["youtube_vis_2019"]) & set(union.indices["ovis"])
    }
    assert {"person", "giant panda", "motorcycle", "airplane"} <= shared
    assert len(shared) == 20


@pytest.mark.parametrize("name", list_vocabularies())
def test_every_class_keeps_its_place(name: str) -> None:
    vocabulary, union = get_vocabulary(name), unite(["ovis", name] if name != "ovis" else [name])
    for index, class_name in zip(union.indices[name], vocabulary.classes, strict=True):
        assert union.vocabulary.classes[index] == canonical_name(class_name, name)
        if vocabulary.is_thing(vocabulary.index(class_name)):
            assert union.vocabulary.is_thing(index)
    assert sum(union.mask(name)) == len(vocabulary)


def test_words_with_two_meanings_stay_apart() -> None:
    union = unite(["youtube_vis_2021", "uvo"])
    mice = [c for c in union.vocabulary.classes if "mouse" in c]
    assert mice == ["mouse", "computer mouse"]
    assert "frisbee" in union.vocabulary.classes
    assert "flying disc" not in union.vocabulary.classes
    assert {"car", "sedan"} <= set(unite(["youtube_vis_2019", "uvo"]).vocabulary.classes)


def test_a_mask_names_the_classes_of_one_part() -> None:
    union = unite([Vocabulary("a", ("cat", "Dog")), Vocabulary("b", ("dog", "tree"), things={0})])
    assert union.vocabulary.classes == ("cat", "dog", "tree")
    assert union.vocabulary.thing_ids == (0, 1)
    assert union.mask("b") == (False, True, True)
    with pytest.raises(ValueError, match="name must be one of a, b, got 'c'"):
        union.mask("c")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="must have distinct names"):
        unite(["ovis", "ovis"])
    with pytest.raises(ValueError, match="distinct names, got"):
        unite([])
    with pytest.raises(ValueError, match="several classes that mean"):
        unite([Vocabulary("twice", ("sofa", "couch"))])
