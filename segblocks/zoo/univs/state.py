"""What UniVS remembers of a video between two clips."""

from __future__ import annotations

from dataclasses import dataclass, field

from segblocks.tasks import Task
from segblocks.text import Vocabulary
from segblocks.tracking.entities import EntityTracker
from segblocks.tracking.overlap import LogitRows
from segblocks.tracking.policy import VideoState
from segblocks.tracking.prompt_memory import PromptMemory
from segblocks.tracking.prompted import PromptedTracker
from segblocks.tracking.semantic import SemanticJoiner


class Recall(Task):
    """Ask for the objects that the memory of prompts holds, where nothing new is shown."""

    name = "recall"


@dataclass(frozen=True)
class ClassPrompts(Task):
    """Ask for all that is of a class, with a prompt for each class; in training.

    Args:
        vocabulary: the classes.
    """

    name = "classes"
    vocabulary: Vocabulary


@dataclass
class UniVSState(VideoState):
    """What UniVS remembers of a video; a part is None where no task needs it.

    Args:
        prompts: tokens of all objects that are asked for by prompts.
        objects: hinted objects of all tasks.
        entities: instances of VIS and VPS.
        semantic: classes of pixels in VPS and VSS.
        spoken: logits of expressions on the frames shared with the next clip.
        num_clips: so far.
        needs_learnable: whether some task reads the learnable queries.
        is_keyed: whether the tasks of the next clip name objects by their keys in ``prompts``.
    """

    prompts: PromptMemory = field(default_factory=PromptMemory)
    objects: PromptedTracker | None = None
    entities: EntityTracker | None = None
    semantic: SemanticJoiner | None = None
    spoken: LogitRows = field(default_factory=lambda: LogitRows.none(0))
    num_clips: int = 0
    needs_learnable: bool = True
    is_keyed: bool = False
