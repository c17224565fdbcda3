"""Sentences about the things of a scene, each true for what it names and for nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np

from segblocks.data.sample import Expression
from segblocks.data.synthetic.facts import Facts, Predicate, Verdict
from segblocks.data.synthetic.palette import COLORS
from segblocks.data.synthetic.scene import Look, Scene
from segblocks.data.synthetic.skin import PATTERNS

KINDS: tuple[str, ...] = ("shape", "color", "pattern", "motion", "relation")

_PLACES = {
    "left": "left of", "right": "right of", "up": "above", "down": "below",
}  # fmt: skip
_GOING = ("moving", "going", "drifting")
_MOTION_WORDS = (*_GOING, "turning", "growing", "shrinking", "staying", "leaving")


@dataclass(frozen=True)
class _Noun:
    """Words for a look; None leaves a property open."""

    shape: str | None
    color: str | None = None
    pattern: str | None = None

    def fits(self, look: Look) -> bool:
        return (
            self.shape in (None, look.shape)
            and self.color in (None, look.color)
            and self.pattern in (None, look.pattern)
        )

    def text(self, names: dict[str, str], plural: bool = False) -> str:
        noun = "thing" if self.shape is None else names.get(self.shape, self.shape)
        if plural:
            noun = _plural(noun)
        return " ".join(word for word in (self.pattern, self.color, noun) if word)


@dataclass(frozen=True)
class _Candidate:
    """A sentence; what follows a word for moving is kept apart until the word is chosen."""

    kind: str
    text: str
    targets: tuple[int, ...]
    direction: str = ""

    def say(self, going: str) -> str:
        return f"{self.text} {going} {self.direction}" if self.direction else self.text


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def expression_kind(text: str, names: Iterable[str] = ()) -> str:
    """Tell what a sentence of the synthetic world needs: one of ``KINDS``.

    Args:
        text: the sentence.
        names: what classes are called in this world, where that is not their own name; words in
            them, such as a colour's, say nothing of the kind.

    Example:
        >>> expression_kind("the red star moving left"), expression_kind("the blue ring")
        ('motion', 'color')
        >>> expression_kind("all moving vans", ["moving van"])
        'shape'
    """
    called = [form for name in names for form in (name, _plural(name))]
    for form in sorted(called, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(form)}\b", "thing", text)
    words = text.replace(",", "").split()
    if any(f" {place} " in f" {text} " for place in _PLACES.values()):
        return "relation"
    for kind, vocabulary in (("motion", _MOTION_WORDS), ("pattern", PATTERNS), ("color", COLORS)):
        if any(word in vocabulary for word in words):
            return kind
    return "shape"


def describe(
    scene: Scene,
    rng: np.random.Generator,
    most: int,
    *,
    plural: bool = False,
    names: dict[str, str] | None = None,
) -> tuple[Expression, ...]:
    """Write sentences about the annotated things, as many kinds of them as the scene allows.

    The kind of a sentence is what it cannot do without: where a shape alone is unique, there is no
    sentence that adds its colour. A motion is only used where, in every frame that shows the
    thing, another fits the same words but for the motion, and a relation only where several things
    fit the words before it.

    Args:
        scene: the video.
        rng: chooses.
        most: of them.
        plural: also name groups ("all red stars").
        names: what classes are called, where it is not their own name.

    Returns:
        Expressions numbered from "0"; object ids are the scene's.
    """
    if most <= 0 or not any(thing.id for thing in scene.things):
        return ()
    writer = _Writer(scene, dict(names or {}), rng)
    found: dict[str, list[_Candidate]] = {kind: [] for kind in KINDS}
    for candidate in writer.candidates(plural):
        found[candidate.kind].append(candidate)
    order = [KINDS[k] for k in rng.permutation(len(KINDS))]
    # Each kind in turn, so that the rare ones are not drowned by the common.
    shuffled = [[found[kind][k] for k in rng.permutation(len(found[kind]))] for kind in order]
    mixed = [c for turn in zip_longest(*shuffled) for c in turn if c is not None]
    return tuple(
        Expression(
            str(number),
            c.say(str(rng.choice(_GOING))),
            tuple(sorted(scene.things[k].id for k in c.targets)),
        )
        for number, c in enumerate(mixed[:most])
    )


class _Writer:
    def __init__(self, scene: Scene, names: dict[str, str], rng: np.random.Generator) -> None:
        self.scene = scene
        self.rng = rng
        self.names = names
        self.facts = Facts(scene)
        self.looks = [thing.look for thing in scene.things]
        self.all = range(len(scene.things))
        # What is hardly ever in view cannot be asked for.
        self.askable = [
            k for k in self.all if scene.things[k].id and self.facts.in_view[k].mean() >= 0.5
        ]

    def candidates(self, plural: bool) -> Iterator[_Candidate]:
        for target in self.askable:
            yield from self._by_look(target)
            nouns = self._open_nouns(target)
            yield from self._by_motion(target, nouns)
            yield from self._by_relation(target, nouns)
        if plural:
            yield from self._groups()

    def _fitting(self, noun: _Noun) -> list[int]:
        return [k for k in self.all if noun.fits(self.looks[k])]

    def _others(self, target: int, noun: _Noun) -> list[int]:
        return [k for k in self._fitting(noun) if k != target]

    def _by_look(self, target: int) -> Iterator[_Candidate]:
        look = self.looks[target]
        tries = (
            ("shape", _Noun(look.shape)),
            ("color", _Noun(look.shape, look.color)),
            ("color", _Noun(None, look.color)),
            ("pattern", _Noun(look.shape, look.color, look.pattern)),
            ("pattern", _Noun(look.shape, None, look.pattern)),
        )
        plain: list[_Noun] = []
        for kind, noun in tries:
            shorter = any(p.shape == noun.shape and p.color in (None, noun.color) for p in plain)
            if self._fitting(noun) == [target]:
                if not shorter:
                    yield _Candidate(kind, f"the {noun.text(self.names)}", (target,))
                plain.append(noun)

    def _open_nouns(self, target: int) -> list[_Noun]:
        """Words that fit the target and others."""
        look = self.looks[target]
        nouns = [_Noun(look.shape), _Noun(look.shape, look.color), _Noun(None, look.color)]
        return [noun for noun in nouns if len(self._fitting(noun)) > 1]

    def _by_motion(self, target: int, nouns: list[_Noun]) -> Iterator[_Candidate]:
        seen = self.facts.in_view
        # In every frame that shows the target, another must pass for it.
        open_nouns = [
            noun
            for noun in nouns
            if (seen[self._others(target, noun)].any(0) | ~seen[target]).all()
        ]
        for direction in _PLACES:
            predicate = partial(self.facts.moves, direction=direction)
            if noun := self._any_noun(target, open_nouns, predicate):
                yield _Candidate("motion", f"the {noun.text(self.names)}", (target,), direction)
        for words, predicate in self._motions():
            if noun := self._any_noun(target, open_nouns, predicate):
                yield _Candidate("motion", f"the {noun.text(self.names)} {words}", (target,))

    def _motions(self) -> list[tuple[str, Predicate]]:
        facts = self.facts
        return [
            ("staying in its place", facts.is_still),
            ("turning about itself", facts.spins),
            ("growing", partial(facts.grows, sign=1)),
            ("shrinking", partial(facts.grows, sign=-1)),
            ("leaving the frame and returning", facts.leaves),
        ]

    def _by_relation(self, target: int, nouns: list[_Noun]) -> Iterator[_Candidate]:
        for anchor in self.askable:
            anchor_text = self._name(anchor)
            open_nouns = [noun for noun in nouns if not noun.fits(self.looks[anchor])]
            if anchor_text is None or not open_nouns:
                continue
            for direction, words in _PLACES.items():
                predicate = partial(self.facts.beside, other=anchor, direction=direction)
                if noun := self._any_noun(target, open_nouns, predicate):
                    text = f"the {noun.text(self.names)} {words} the {anchor_text}"
                    yield _Candidate("relation", text, (target,))

    def _name(self, thing: int) -> str | None:
        """The shortest words that fit nothing else, if there are any."""
        look = self.looks[thing]
        for noun in (_Noun(look.shape), _Noun(look.shape, look.color)):
            if self._fitting(noun) == [thing]:
                return noun.text(self.names)
        return None

    def _any_noun(self, target: int, nouns: list[_Noun], predicate: Predicate) -> _Noun | None:
        """One of the nouns with which the predicate is true of the target and of nothing else."""
        if predicate(target) is not Verdict.TRUE:
            return None
        enough = [
            noun
            for noun in nouns
            if all(predicate(k) is Verdict.FALSE for k in self._others(target, noun))
        ]
        return enough[int(self.rng.integers(len(enough)))] if enough else None

    def _groups(self) -> Iterator[_Candidate]:
        nouns = {_Noun(self.looks[k].shape) for k in self.askable}
        nouns |= {_Noun(self.looks[k].shape, self.looks[k].color) for k in self.askable}
        for noun in sorted(nouns, key=lambda n: (n.shape or "", n.color or "")):
            fitting = self._fitting(noun)
            if 2 <= len(fitting) < len(self.scene.things) and set(fitting) <= set(self.askable):
                kind = "shape" if noun.color is None else "color"
                yield _Candidate(kind, f"all {noun.text(self.names, True)}", tuple(fitting))
