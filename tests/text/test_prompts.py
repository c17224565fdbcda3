"""Class names in sentences."""

from __future__ import annotations

import pytest

from segblocks.text import get_templates, list_templates
from segblocks.text.prompts import fill_templates


@pytest.mark.parametrize("name", list_templates())
def test_every_template_has_one_place(name: str) -> None:
    filled = fill_templates("giant  Panda", get_templates(name))
    assert all(sentence.count("giant panda") == 1 for sentence in filled)
    assert len(set(filled)) == len(filled)


def test_names_are_spelled_as_words() -> None:
    assert fill_templates("Giant_panda", ["one {}, please"]) == ["one giant panda, please"]
    assert get_templates(["a {}", "the {}"]) == ("a {}", "the {}")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="no templates 'photos'; did you mean 'photo'"):
        get_templates("photos")
    with pytest.raises(ValueError, match=r"one '\{\}', got \['a dog'\]"):
        get_templates(["a {}", "a dog"])
    with pytest.raises(ValueError, match="at least one sentence"):
        get_templates([])
