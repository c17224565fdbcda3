"""Sentences into which class names are put before they are encoded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from segblocks.text.vocabulary import close_matches

Templates = tuple[str, ...]


@cache
def _read() -> dict[str, Templates]:
    text = (resources.files("segblocks.text") / "prompts.json").read_text(encoding="utf-8")
    return {name: tuple(templates) for name, templates in json.loads(text).items()}


def list_templates() -> tuple[str, ...]:
    """Return the names that :func:`get_templates` knows, sorted."""
    return tuple(sorted(_read()))


def get_templates(templates: str | Sequence[str]) -> Templates:
    """Return sentences with a place ``{}`` for the name of a class.

    Args:
        templates: a name of :func:`list_templates`, or sentences of one's own. TMT-VIS does not say
            which it uses; "photo" is CLIP's own for single objects.

    Raises:
        ValueError: an unknown name, no sentence, or one without exactly one ``{}``.

    Example:
        >>> get_templates("photo")
        ('a photo of a {}.',)
    """
    if isinstance(templates, str):
        known = _read()
        if templates not in known:
            raise ValueError(
                f"there are no templates {templates!r}{close_matches(templates, tuple(known))}; "
                f"known are {', '.join(list_templates())}"
            )
        return known[templates]
    if wrong := [sentence for sentence in templates if sentence.count("{}") != 1]:
        raise ValueError(f"get_templates: templates must each have one '{{}}', got {wrong}")
    if not templates:
        raise ValueError("get_templates: templates must be at least one sentence, got none")
    return tuple(templates)


def fill_templates(name: str, templates: Sequence[str]) -> list[str]:
    """Put the name of a class into each sentence.

    Args:
        name: as a dataset spells it; underscores become spaces, capitals small letters.
        templates: sentences with one ``{}``.

    Example:
        >>> fill_templates("Giant_panda", ("a photo of a {}.",))
        ['a photo of a giant panda.']
    """
    plain = " ".join(name.replace("_", " ").casefold().split())
    return [template.replace("{}", plain) for template in templates]
