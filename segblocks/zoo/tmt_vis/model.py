"""TMT-VIS: Mask2Former-VIS that looks for the classes of a clip before it looks for objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import (
    ClipOutput,
    CompiledTaxonomy,
    Decoder,
    FeedForward,
    LinearClassHead,
    MaskedCrossAttention,
    MaskEmbedding,
    Predict,
    PredictAs,
    Queries,
    SelfAttention,
    TaxonomyCompiler,
    TaxonomyInjection,
    mlp,
)
from segblocks.tasks import UNION, CategoryTask, Task, as_tasks
from segblocks.text.embeddings import TextEmbeddings
from segblocks.text.vocabulary import Vocabulary
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES, ClipModel, clip_of_batch, size_of
from segblocks.zoo.mask2former_vis.policy import Mask2FormerVISPolicy, Mask2FormerVISState
from segblocks.zoo.tmt_vis.class_vectors import ClassVectors
from segblocks.zoo.tmt_vis.config import TMTVISConfig
from segblocks.zoo.tmt_vis.label_space import (
    AskedClasses,
    asked_logits,
    find_classes,
    known_logits,
    likeness,
)

TEXT_FILE = "text.safetensors"
MEMORY = "taxonomy"


@dataclass(frozen=True)
class TaxonomyOutput(ClipOutput):
    """What TMT-VIS returns for a clip.

    The predictions right after an injection are among the others and named "taxonomy".

    Args:
        taxonomy: the classes that were looked for and selected, as indices into the vocabulary of
            the task; None where the model has no injection.
    """

    taxonomy: CompiledTaxonomy | None = None


class TMTVIS(ClipModel):
    """TMT-VIS (Zheng et al., NeurIPS 2023), after the equations of the paper.

    One classifier over the joined classes of several datasets. The names of the classes that a clip
    is asked for attend to its features, the likeliest are selected, and before every layer of the
    decoder the queries attend to those. Classes of other datasets take no part: not in the
    selection, not in the softmax of the classifier, and not in results.

    A class that no training dataset has is looked for by its name like any other, and classified by
    the known classes that are named alike.

    Args:
        config: the numbers; the default is ``tmt_vis_resnet50``.

    Example:
        >>> from segblocks.tasks import VIS
        >>> config = TMTVISConfig(text_encoder="hash/16", text_dim=16, neck_layers=1,
        ...     decoder_layers=3, neck_hidden_dim=64, decoder_hidden_dim=64)
        >>> model = TMTVIS(config).eval()
        >>> frames = torch.zeros(1, 2, 3, 60, 100, dtype=torch.uint8)
        >>> output = model(frames, VIS("ovis"))
        >>> output.mask_logits.shape, output.class_logits.shape, output.taxonomy.indices.shape
        (torch.Size([1, 100, 2, 16, 32]), torch.Size([1, 100, 26]), torch.Size([1, 10]))
    """

    tasks = ("vis",)
    no_decay_names = ("query_content", "query_position")
    config: TMTVISConfig

    def __init__(self, config: TMTVISConfig | None = None) -> None:
        config = config or TMTVISConfig()
        super().__init__(config)
        self.vocabulary: Vocabulary = config.union().vocabulary
        self.class_vectors = ClassVectors(config.text_encoder, config.text_dim, config.templates)
        self.query_content = nn.Parameter(torch.randn(config.num_queries, config.embed_dim))
        self.query_position = nn.Parameter(torch.randn(config.num_queries, config.embed_dim))
        self.compiler: TaxonomyCompiler | None = None
        if config.injection != "never":
            self.compiler = TaxonomyCompiler(
                config.text_dim,
                config.embed_dim,
                config.num_heads,
                strides=config.compiler_strides,
                num_selected=config.num_selected,
                bottleneck_dim=config.bottleneck_dim,
                hidden_dim=config.decoder_hidden_dim,
            )
        self.decoder = Decoder(
            decoder_steps(config, len(self.vocabulary)), config.embed_dim, strides=STRIDES
        )

    def forward(
        self,
        frames: Tensor,
        task: Task | Sequence[Task],
        *,
        frame_indices: Sequence[int] | None = None,
        state: Mask2FormerVISState | None = None,
        features: Mapping[int, Tensor] | None = None,
    ) -> TaxonomyOutput:
        """Segment one clip, or a whole video.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float.
            task: VIS, with a vocabulary that the model was trained on or any other; ``"union"`` are
                all its classes. Vectors of names that it does not hold are made by its text
                encoder.
            frame_indices: of the frames in their video; None goes on where the last merge left
                ``state``, or counts from 0. They change no number.
            state: of the video, handed on in the output; None begins a video with this clip.
            features: what :meth:`extract` returned for these frames, when it is at hand.

        Returns:
            The output; queries are of the group ``instance``, and with ``concatenate`` of
            ``taxonomy``.

        Raises:
            ValueError: another task, or features or indices of other frames.
            ImportError: names have to be encoded, and the text encoder is not installed.
        """
        asked = self._task_of(task)
        pyramid, size = self.features_of(frames, features), size_of(frames)
        indices = self.frame_indices(frame_indices, frames.shape[1], state)
        classes = find_classes(self.vocabulary, asked.resolve())
        known = _known([classes], classes.names, frames.device)
        output = self._decode(self.neck(pyramid), classes.names, known, size, indices)
        if state is None:
            state = self.video_policy(asked).start(size, size)
            state.next_start = state.finished = indices[0]
        return replace(self._asked(output, classes), state=state)

    def forward_clips(
        self,
        frames: Tensor,
        tasks: Sequence[Task | Sequence[Task]],
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[TaxonomyOutput, ...]:
        """Segment clips of datasets with vocabularies of their own, for training.

        Args:
            frames: (B, T, 3, H, W), as in :meth:`forward`.
            tasks: of each clip.
            generators: not needed; nothing here is drawn.

        Returns:
            One output a clip, each with one clip and without a state.

        Raises:
            ValueError: tasks that are not one a clip, or a class that the classifier does not have;
                else as :meth:`forward`.
        """
        self.check_batch(frames, tasks=tasks)
        asked = [find_classes(self.vocabulary, self._task_of(task).resolve()) for task in tasks]
        if unseen := sorted({name for classes in asked for name in classes.unseen}):
            raise ValueError(
                f"TMTVIS: tasks must ask for classes of the vocabularies that the model was made "
                f"with, {list(self.config.vocabularies)}, got {unseen}"
            )
        names = tuple(dict.fromkeys(name for classes in asked for name in classes.names))
        known = _known(asked, names, frames.device)
        levels = self.neck(self.extract(frames))
        output = self._decode(levels, names, known, size_of(frames), range(frames.shape[1]))
        return tuple(
            self._asked(_clip(output, b, [names.index(n) for n in classes.names]), classes)
            for b, classes in enumerate(asked)
        )

    def video_policy(self, task: Task | Sequence[Task], **settings: Any) -> Mask2FormerVISPolicy:
        """Say how a video is cut into clips, and how their outputs join.

        Args:
            task: as in :meth:`forward`.
            settings: of :class:`~segblocks.zoo.mask2former_vis.Mask2FormerVISPolicy`; the short
                side is the config's by default.
        """
        settings = {"short_side": self.config.short_side, **settings}
        return Mask2FormerVISPolicy(self._task_of(task), **settings)

    def use_text(self, embeddings: TextEmbeddings) -> None:
        """Take vectors of names that were made before, so that no text encoder is needed for them.

        Raises:
            ValueError: they are of another encoder, length, or other templates than the config's.
        """
        self.class_vectors.use(embeddings)

    def embed_classes(self) -> TextEmbeddings:
        """Make the vectors of all classes that the model knows now, rather than when needed.

        Returns:
            All vectors that the model holds.
        """
        return self.class_vectors.embed(self.vocabulary.classes)

    def save_extra(self, folder: Path) -> None:
        """Write the vectors of names that the model holds, so that inference needs no encoder."""
        if self.class_vectors.table is not None:
            self.class_vectors.table.save(folder / TEXT_FILE)

    def load_extra(self, folder: Path) -> None:
        """Read what :meth:`save_extra` wrote.

        Raises:
            ValueError: the file is damaged, or its vectors are not of the config's text encoder;
                names the file.
        """
        path = folder / TEXT_FILE
        if not path.is_file():
            return
        table = TextEmbeddings.load(path)
        try:
            self.use_text(table)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _task_of(self, task: Task | Sequence[Task]) -> CategoryTask:
        tasks = self.check_tasks(as_tasks(task))
        if len(tasks) != 1 or not isinstance(tasks[0], CategoryTask):
            raise ValueError(f"TMTVIS: task must be one VIS, got {len(tasks)} tasks")
        if tasks[0].vocabulary == UNION:
            return replace(tasks[0], vocabulary=self.vocabulary)
        return tasks[0]

    def _decode(
        self,
        levels: dict[int, Tensor],
        names: tuple[str, ...],
        known: Tensor | None,
        size: tuple[int, int],
        indices: Sequence[int],
    ) -> TaxonomyOutput:
        features = levels[MASK_STRIDE]
        queries = Queries(
            self.query_content.expand(len(features), -1, -1),
            self.query_position[None],
            {"instance": slice(0, len(self.query_content))},
        )
        context = self.decoder.context(levels)
        taxonomy = None
        if self.compiler is not None:
            taxonomy = self.compiler(self.class_vectors.rows(names, features), levels, known)
            context.memory[MEMORY] = taxonomy.memory(len(self.query_content))
        refined, predictions = self.decoder(queries, context)
        return TaxonomyOutput(
            predictions,
            features,
            refined.groups,
            model_size=size,
            frame_indices=tuple(indices),
            taxonomy=taxonomy,
        )

    def _asked(self, output: TaxonomyOutput, classes: AskedClasses) -> TaxonomyOutput:
        """The output with class logits of the asked classes, in their order."""
        seen = tuple(column for column in classes.columns if column is not None)
        mixture = None
        if classes.unseen:
            device = output.mask_features.device
            table = self.class_vectors.embed((*classes.unseen, *self.vocabulary.classes))
            mixture = likeness(
                table.rows(classes.unseen),
                table.rows(self.vocabulary.classes),
                self.config.unseen_temperature,
            ).to(device)
        predictions = []
        for prediction in output.predictions:
            assert prediction.class_logits is not None
            logits = prediction.class_logits
            if mixture is None:
                logits = known_logits(logits, seen)
            else:
                logits = asked_logits(logits, classes.columns, mixture)
            predictions.append(replace(prediction, class_logits=logits))
        return replace(output, predictions=tuple(predictions))


def decoder_steps(config: TMTVISConfig, num_classes: int) -> list[nn.Module]:
    """List the steps of the decoder.

    Args:
        config: the numbers.
        num_classes: K of the classifier.
    """
    dim = config.embed_dim
    predict = Predict(
        nn.LayerNorm(dim),
        MaskEmbedding(mlp(dim, dim, dim, dim)),
        LinearClassHead(dim, num_classes, group="instance"),
    )
    layers = {"every_layer": config.decoder_layers, "once": 1, "never": 0}[config.injection]
    steps: list[nn.Module] = [predict]
    for layer in range(config.decoder_layers):
        if layer < layers:
            injection = TaxonomyInjection(
                dim,
                config.num_heads,
                config.decoder_hidden_dim,
                aggregation=config.aggregation,
                norm=config.injection_norm,
                memory=MEMORY,
            )
            steps += [injection, PredictAs(predict, MEMORY)]
        steps += [
            MaskedCrossAttention(dim, config.num_heads, stride=STRIDES[layer % len(STRIDES)]),
            SelfAttention(dim, config.num_heads),
            FeedForward(dim, config.decoder_hidden_dim),
            predict,
        ]
    return steps


def _known(
    asked: Sequence[AskedClasses], names: tuple[str, ...], device: torch.device
) -> Tensor | None:
    """Which of the names each clip may look for, (B, K): things of its vocabulary; None for all."""
    sought = [{name for name, thing in zip(a.names, a.things, strict=True) if thing} for a in asked]
    if all(len(of_clip) == len(names) for of_clip in sought):
        return None
    return torch.tensor([[name in of_clip for name in names] for of_clip in sought], device=device)


def _clip(output: TaxonomyOutput, place: int, rows: list[int]) -> TaxonomyOutput:
    """One clip of several, its taxonomy in terms of its own classes, which are ``rows``."""
    clip = clip_of_batch(output, place)
    assert isinstance(clip, TaxonomyOutput)
    taxonomy = output.taxonomy
    if taxonomy is None:
        return clip
    here = slice(place, place + 1)
    own = torch.full((taxonomy.logits.shape[1] + 1,), -1, device=taxonomy.indices.device)
    own[rows] = torch.arange(len(rows), device=own.device)
    narrowed = CompiledTaxonomy(
        taxonomy.tokens[here],
        None if taxonomy.mask is None else taxonomy.mask[here],
        own[taxonomy.indices[here]],
        taxonomy.logits[here, rows],
    )
    return replace(clip, taxonomy=narrowed)
