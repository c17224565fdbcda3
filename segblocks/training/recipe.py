"""What one training run is made of: model, data, losses, loop and the weights to start from."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.clips.clip_rule import CATEGORY_TASKS
from segblocks.data.dataset import VideoDataset
from segblocks.training.initial import InitialWeights, load_initial
from segblocks.training.overrides import close_matches, fit_value, replace_field, split_word
from segblocks.training.settings import LoopSettings
from segblocks.training.step import TrainingStep
from segblocks.zoo import PretrainedModel, create_model
from segblocks.zoo.registry import RANDOM, get_entry

_CHANGEABLE = ("model", "sources", "criterion", "step", "loop", "initial", "total_batch")
_OPTIONS = (inspect.Parameter.KEYWORD_ONLY,)


@dataclass(frozen=True)
class RecipeSource:
    """Describe one dataset of a recipe.

    Args:
        videos: opens the dataset; called with its folder, or None where it needs none.
        rule: which frames, objects and hints a clip takes.
        transform: how frames are resized, cut out, mirrored and coloured.
        weight: how often it is taken, relative to the other datasets; 0 leaves it out.
        tasks: what it serves, and how often, relative to each other; 0 leaves one out.
        root: the name under which ``--data`` gives its folder; None needs none.
        optional: is left out where no folder is given.
    """

    videos: Callable[[Path | None], VideoDataset]
    rule: ClipRule
    transform: ClipTransform
    weight: float
    tasks: Mapping[str, float]
    root: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Recipe:
    """Describe a training run; everything in it can be changed by words, see :meth:`override`.

    Args:
        name: as ``segblocks train`` takes it.
        description: one line.
        model: a name of ``list_models``.
        sources: the datasets by name.
        criterion: makes the losses from ``criterion_options``.
        loop: steps, batches, optimiser and so on.
        model_overrides: fields of the model's config that differ from its defaults.
        criterion_options: keyword arguments of ``criterion``.
        initial: what weights training starts from.
        step: makes of model and losses what turns clips into losses, with ``step_options``.
        step_options: keyword arguments of ``step``.
        total_batch: clips of one step of the optimiser over all processes, as the recipe means it;
            None where it does not matter.
        classes_of_data: the model knows the classes that its datasets name, as one vocabulary
            called "own", instead of those of its config; unless none names any, or
            ``model.vocabularies`` is among the overrides.
    """

    name: str
    description: str
    model: str
    sources: Mapping[str, RecipeSource]
    criterion: Callable[..., nn.Module]
    loop: LoopSettings
    model_overrides: Mapping[str, Any] = field(default_factory=dict)
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    initial: InitialWeights = field(default_factory=InitialWeights)
    step: Callable[..., TrainingStep] = TrainingStep
    step_options: Mapping[str, Any] = field(default_factory=dict)
    total_batch: int | None = None
    classes_of_data: bool = False

    @property
    def roots(self) -> tuple[str, ...]:
        """The names that ``--data`` takes, sorted."""
        return tuple(sorted({s.root for s in self.sources.values() if s.root is not None}))

    def override(self, words: Iterable[str]) -> Recipe:
        """Return the recipe with some fields changed.

        Args:
            words: such as ``loop.steps=1000``, ``model.embed_dim=128``,
                ``criterion.num_points=64``, ``step.max_prompts=8``, ``sources.ovis.weight=0``,
                ``initial.checkpoint=w.pth``.

        Raises:
            ValueError: an unknown field (close matches are listed), or a value that it does not
                take.
        """
        recipe = self
        for word in words:
            recipe = recipe._replace(*split_word(word))
        return recipe

    def skip_missing(self) -> Recipe:
        """Return the recipe such that datasets are left out for which no folder is given."""
        sources = {n: dataclasses.replace(s, optional=True) for n, s in self.sources.items()}
        return dataclasses.replace(self, sources=sources)

    def with_classes_of(self, sources: Iterable[ClipSource]) -> Recipe:
        """Return the recipe whose model knows the classes of these datasets, where it is to.

        Args:
            sources: of the training, open.
        """
        if not self.classes_of_data or "vocabularies" in self.model_overrides:
            return self
        is_thing: dict[str, bool] = {}
        for vocabulary in (s.dataset.vocabulary for s in sources if _tells_classes(s)):
            assert vocabulary is not None
            for index, name in enumerate(vocabulary.classes):
                is_thing[name] = is_thing.get(name, False) or index in vocabulary.thing_ids
        if not is_thing:
            return self
        things = tuple(index for index, thing in enumerate(is_thing.values()) if thing)
        overrides = {**self.model_overrides, "vocabularies": (("own", tuple(is_thing), things),)}
        return dataclasses.replace(self, model_overrides=overrides)

    def build_model(self, *, initial: bool = True) -> tuple[PretrainedModel, list[str]]:
        """Make the model.

        Args:
            initial: give it the weights that it starts from; without, they are random.

        Returns:
            The model, and which weights it has, a line each.
        """
        model = create_model(self.model, checkpoint=RANDOM, **self.model_overrides)
        return model, load_initial(model, self.initial if initial else InitialWeights())

    def build_criterion(self) -> nn.Module:
        """Make the losses."""
        return self.criterion(**self.criterion_options)

    def build_step(self, model: nn.Module) -> TrainingStep:
        """Make what turns clips into losses.

        Args:
            model: of :meth:`build_model`.
        """
        return self.step(model, self.build_criterion(), **self.step_options)

    def open_source(self, name: str, roots: Mapping[str, Path]) -> ClipSource:
        """Open one dataset.

        Args:
            name: of the source.
            roots: name under ``--data`` -> folder.

        Raises:
            ValueError: files are missing or broken; says how to do without the dataset.
        """
        source = _drop_tasks(self.sources[name])
        root = None if source.root is None else roots[source.root]
        try:
            videos = source.videos(root)
            return ClipSource(videos, source.rule, source.transform, source.weight, source.tasks)
        except (ValueError, OSError) as error:
            where = "" if root is None else f" (--data {source.root}={root})"
            raise ValueError(
                f"sources.{name}{where}: {error}; sources.{name}.weight=0 leaves it out"
            ) from error

    def build_dataset(self, roots: Mapping[str, Path]) -> ClipDataset:
        """Open all datasets as one.

        Args:
            roots: name under ``--data`` -> folder.

        Raises:
            ValueError: as of :meth:`used_sources` and :meth:`open_source`.
        """
        opened = [self.open_source(name, roots) for name in self.used_sources(roots)]
        return ClipDataset(opened, seed=self.loop.seed)

    def used_sources(self, roots: Mapping[str, Path]) -> dict[str, RecipeSource]:
        """Return the datasets that are trained on, without opening them.

        Args:
            roots: name under ``--data`` -> folder.

        Raises:
            ValueError: a folder is given for a dataset that the recipe does not have, or missing,
                or no dataset is left.
        """
        for name in roots:
            if name not in self.roots:
                raise ValueError(
                    f"{self.name} has no data {name!r}{close_matches(name, self.roots)}"
                )
        used = {name: _drop_tasks(s) for name, s in self.sources.items() if s.weight > 0}
        used = {
            name: source
            for name, source in used.items()
            if source.root is None or source.root in roots or not source.optional
        }
        missing = [n for n, s in used.items() if s.root is not None and s.root not in roots]
        if missing:
            data = sorted({str(used[name].root) for name in missing})
            raise ValueError(
                f"{self.name} needs {', '.join(f'--data {name}=FOLDER' for name in data)}; or "
                f"leave them out, {' '.join(f'sources.{name}.weight=0' for name in missing)}"
            )
        if not used:
            raise ValueError(
                f"{self.name} has no data to train on: every source has weight 0 or no --data "
                f"({', '.join(f'{name}=FOLDER' for name in self.roots)})"
            )
        return used

    def _replace(self, path: Sequence[str], value: Any) -> Recipe:
        if path[0] == "model" and len(path) > 1:
            config = dataclasses.replace(get_entry(self.model).config, **self.model_overrides)
            changed = replace_field(config, path[1:], value, where="model")
            options = {**self.model_overrides, path[1]: getattr(changed, path[1])}
            return dataclasses.replace(self, model_overrides=options)
        if path[0] in ("criterion", "step") and len(path) > 1:
            return self._replace_option(path[0], ".".join(path[1:]), value)
        if path[0] not in _CHANGEABLE:
            raise ValueError(
                f"a recipe has no field {path[0]!r}{close_matches(path[0], _CHANGEABLE)}"
            )
        return replace_field(self, path, value)

    def _replace_option(self, part: str, name: str, value: Any) -> Recipe:
        made: Callable[..., Any] = getattr(self, part)
        # Model and losses are no options of a step.
        known = [p.name for p in inspect.signature(made).parameters.values() if p.kind in _OPTIONS]
        if name not in known:
            raise ValueError(f"{part} has no field {name!r}{close_matches(name, known)}")
        maker = made.__init__ if isinstance(made, type) else made
        hint = typing.get_type_hints(maker).get(name, Any)
        given: Mapping[str, Any] = getattr(self, f"{part}_options")
        options = {**given, name: fit_value(value, hint, f"{part}.{name}")}
        return dataclasses.replace(self, **{f"{part}_options": options})


def _tells_classes(source: ClipSource) -> bool:
    """Whether its classes are trained, and not only its masks."""
    return any(task in CATEGORY_TASKS for task in source.tasks or ())


def _drop_tasks(source: RecipeSource) -> RecipeSource:
    """Leave out the tasks of weight 0."""
    tasks = {task: weight for task, weight in source.tasks.items() if weight != 0}
    return dataclasses.replace(source, tasks=tasks)
