"""One label space over several datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segblocks.text.vocabulary import Vocabulary, get_vocabulary

# Other spellings of one class. Near-synonyms (sedan and car, ape and monkey) are not merged: which
# of them coincide is for the user of the labels to say.
_SPELLINGS = {
    "aeroplane": "airplane",
    "cellphone": "cell phone",
    "flying disc": "frisbee",
    "hair dryer": "hair drier",
    "mobile phone": "cell phone",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "television": "tv",
    "vegitation": "vegetation",
    "vehical": "vehicle",
}
# COCO's stuff classes say what was merged into them.
_COCO_SUFFIX = re.compile(r"-(other-merged|merged|other|stuff)$")
# One word for two things: the animal of the video datasets, and the device of COCO and UVO.
_HOMONYMS = {
    ("coco_panoptic", "mouse"): "computer mouse",
    ("uvo", "mouse"): "computer mouse",
}


def canonical_name(name: str, vocabulary: str = "") -> str:
    """Spell a class name as all datasets would.

    Case and underscores are dropped, known other spellings and COCO's suffixes are resolved, and
    the computer mouse is told from the animal.

    Args:
        name: as its dataset spells it.
        vocabulary: the dataset's vocabulary, for words that mean two things.

    Example:
        >>> canonical_name("Giant_panda"), canonical_name("tree-merged")
        ('giant panda', 'tree')
        >>> canonical_name("mouse", "uvo"), canonical_name("mouse", "youtube_vis_2019")
        ('computer mouse', 'mouse')
    """
    plain = " ".join(name.replace("_", " ").casefold().split())
    plain = _COCO_SUFFIX.sub("", plain)
    plain = _SPELLINGS.get(plain, plain)
    return _HOMONYMS.get((vocabulary, plain), plain)


@dataclass(frozen=True)
class VocabularyUnion:
    """Several vocabularies in one label space (the taxonomy of TMT-VIS, section 4).

    Args:
        vocabulary: the classes of all, each once, in the order in which they first occur; a thing
            where any of them calls it one.
        indices: vocabulary name -> for each of its classes, the index in ``vocabulary``.

    Example:
        >>> union = unite(["youtube_vis_2019", "ovis"])
        >>> len(union.vocabulary), union.vocabulary.classes[union.indices["ovis"][21]]
        (45, 'motorcycle')
    """

    vocabulary: Vocabulary
    indices: Mapping[str, tuple[int, ...]]

    def mask(self, name: str) -> tuple[bool, ...]:
        """For each class of the union, whether the vocabulary ``name`` has it.

        Raises:
            ValueError: the union was not made of this vocabulary.
        """
        if name not in self.indices:
            raise ValueError(
                f"VocabularyUnion: name must be one of {', '.join(self.indices)}, got {name!r}"
            )
        own = set(self.indices[name])
        return tuple(index in own for index in range(len(self.vocabulary)))


def unite(vocabularies: Sequence[str | Vocabulary], *, name: str = "union") -> VocabularyUnion:
    """Join vocabularies by the canonical names of their classes.

    Args:
        vocabularies: names of public ones, or one's own, with distinct names.
        name: of the union.

    Raises:
        ValueError: none, an unknown or a repeated vocabulary, or one in which two classes have the
            same canonical name.
    """
    parts = [get_vocabulary(v) if isinstance(v, str) else v for v in vocabularies]
    names = [part.name for part in parts]
    if not parts or len(set(names)) != len(names):
        raise ValueError(f"unite: vocabularies must have distinct names, got {names}")
    classes: dict[str, int] = {}
    things: set[int] = set()
    indices: dict[str, tuple[int, ...]] = {}
    for part in parts:
        spelled = [canonical_name(c, part.name) for c in part.classes]
        if doubles := {c for c in spelled if spelled.count(c) > 1}:
            raise ValueError(f"unite: {part.name} has several classes that mean {sorted(doubles)}")
        indices[part.name] = tuple(classes.setdefault(c, len(classes)) for c in spelled)
        things |= {indices[part.name][i] for i in part.thing_ids}
    return VocabularyUnion(Vocabulary(name, tuple(classes), things), indices)
