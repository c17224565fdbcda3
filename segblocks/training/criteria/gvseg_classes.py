"""What GvSeg remembers of classes from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.losses import ClassQueues, LossSum
from segblocks.matching import seeded_generator
from segblocks.text import Vocabulary, get_vocabulary
from segblocks.training.criteria.gvseg_contrast import Moment
from segblocks.training.criteria.gvseg_targets import asked_vocabulary


class _Seen(NamedTuple):
    """Queries of classes that some frames show: (n, C), (n, C) and (n,)."""

    embeddings: Tensor
    contents: Tensor
    labels: Tensor


class ClassMemory(nn.Module):
    """Contrast the queries of classes with those of the last steps, and gather what they became.

    Entries wait until a step is over, so that one of several parts is one of the whole batch, and
    then go into the queues here and the running means of the model.

    Args:
        vocabulary: the name or the classes of the model.
        embed_dim: C.
        length: entries a class; 0 contrasts the queries of a step alone.
        max_negatives: of :class:`~segblocks.losses.ClassQueues`.

    Raises:
        ValueError: an unknown vocabulary, or a length that is negative.

    Example:
        >>> ClassMemory("synthetic", 96).queues.entries.shape
        torch.Size([20, 100, 96])
    """

    def __init__(
        self,
        vocabulary: str | Sequence[str],
        embed_dim: int = 256,
        *,
        length: int = 100,
        max_negatives: int = 512,
    ) -> None:
        super().__init__()
        if length < 0:
            raise ValueError(f"ClassMemory: length must be at least 0, got {length}")
        if isinstance(vocabulary, str):
            self.vocabulary = get_vocabulary(vocabulary)
        else:
            self.vocabulary = Vocabulary("classes", tuple(vocabulary))
        self.keeps = length > 0
        self.queues = ClassQueues(
            len(self.vocabulary), embed_dim, length=max(1, length), max_negatives=max_negatives
        )
        self._waiting: list[_Seen] = []

    def forward(
        self, moments: Sequence[Sequence[Moment]], clips: Sequence[TrainingClip]
    ) -> dict[str, LossSum]:
        """Return the losses of a batch, and remember its queries in training.

        Args:
            moments: of each clip.
            clips: of the batch.

        Returns:
            ``contrast`` and ``auxiliary``; nothing where no clip asks for classes.

        Raises:
            ValueError: a clip asks for a class that is not in the vocabulary; names the video.
        """
        found = [
            self._seen(moment, clip)
            for of_clip, clip in zip(moments, clips, strict=True)
            for moment in of_clip
            if "semantic" in moment.output.groups
        ]
        if not found:
            return {}
        seen = _Seen(*(torch.cat(values) for values in zip(*found, strict=True)))
        if self.training:
            self._waiting.append(_Seen(*(values.detach() for values in seen)))
        generator = seeded_generator(*clips[0].seed, "classes")
        losses = self.queues(seen.embeddings, seen.labels, generator=generator)
        # Means over the queries, of which other processes may have another number.
        count = losses.embedding.new_tensor(len(seen.labels))
        return {
            "contrast": LossSum(losses.embedding * count, count),
            "auxiliary": LossSum(losses.auxiliary * count, count),
        }

    @torch.no_grad()
    def after_update(self, model: Any) -> None:
        """Take in what the step has shown; all processes come here together.

        Args:
            model: with ``class_queries`` for the classes of its ``vocabulary``.
        """
        device, dim = self.queues.entries.device, self.queues.entries.shape[-1]
        nothing = torch.zeros(0, dim, device=device)
        waiting = [_Seen(nothing, nothing, nothing[:, 0].long()), *self._waiting]
        self._waiting = []
        seen = _Seen(*(torch.cat(values) for values in zip(*waiting, strict=True)))
        # A step whose gradients overflow changes no weights; what caused it may stand here.
        sound = (seen.embeddings.isfinite() & seen.contents.isfinite()).all(1)
        embeddings, contents, labels = (values[sound] for values in seen)
        if self.keeps:
            self.queues.push(embeddings.float(), labels)
        own = [model.vocabulary.index(name) for name in self.vocabulary.classes]
        model.class_queries.update(contents.float(), torch.tensor(own, device=device)[labels])

    def _seen(self, moment: Moment, clip: TrainingClip) -> _Seen:
        targets, match = moment.targets, moment.match
        asked = asked_vocabulary(clip).classes
        if strange := [name for name in asked if name not in self.vocabulary.classes]:
            raise ValueError(
                f"ClassMemory: vocabulary must have the classes of clip {clip.name!r}, "
                f"it lacks {', '.join(strange[:5])}"
            )
        columns = [self.vocabulary.index(name) for name in asked]
        of_class = match.targets >= targets.num_free
        queries, places = match.queries[of_class], match.targets[of_class]
        labels = torch.tensor(columns, device=places.device)[targets.labels[places]]
        contents = moment.output.predictions[-1].queries[0, queries]
        return _Seen(moment.embeddings[queries], contents, labels)
