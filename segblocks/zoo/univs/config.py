"""What a UniVS model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from segblocks.nn.prompt_attention import SEPARATIONS
from segblocks.tracking.object_propagation import check_propagation
from segblocks.zoo.clip_config import ClipConfig

TIMES = ("absolute", "relative")


@dataclass(frozen=True, kw_only=True)
class UniVSConfig(ClipConfig):
    """The numbers of a UniVS model; defaults are those of the released ResNet-50 checkpoints.

    The fields that all models have are described at
    :class:`~segblocks.zoo.clip_config.ClipConfig`.

    Args:
        num_queries: learnable queries.
        text_encoder: what class names and expressions are encoded by, see
            :func:`~segblocks.text.get_text_encoder`; it is loaded when it is first needed.
        text_templates: sentences that class names and expressions are put into: "openai" for CLIP's
            own 80 and the name alone (official), else see :func:`~segblocks.text.get_templates`.
        text_dim: of text embeddings.
        language_to_image: whether text tokens attend to the image before they become prompts; some
            official files lack this attention.
        separation: of prompts in self-attention, see
            :class:`~segblocks.nn.SeparatedSelfAttention` (official: "sep"; expressions are always
            blocked).
        time: of positions, "absolute" or "relative" to the clip; the latter stands in one official
            configuration of Swin-L alone.
        tokens_per_prompt: pixels that a visual prompt keeps of a frame in training (official: 32);
            at inference :class:`~segblocks.zoo.univs.UniVSPolicy` says how many.
        mask_blank: prompts do not attend to slots of the memory in which nothing was found
            (official: they do, and were trained to).
        grounding_average: at inference, mask of an expression and mask of the learnable query most
            like it are averaged.
        permute_time: in training, mask embeddings are permuted over time.
        official_compat: sample prompts as the official code does where that is a mistake: small
            objects that no eighth pixel hits, slots of the memory before an object appeared.
        short_side: to which frames of a video are resized, see
            :class:`~segblocks.zoo.univs.UniVSPolicy`; None is the official 640.
        clip_length: frames of a clip at inference, likewise; None is the official 5.
        overlap: frames that successive clips share, likewise; None is all but one.
        propagation: share of the masks of hinted objects that is propagated by looks, likewise; not
            in the paper.

    Raises:
        ValueError: numbers that are not positive, or an unknown separation or time.
    """

    num_queries: int = 200
    text_encoder: str = "open_clip/RN50x4/openai"
    text_templates: str | tuple[str, ...] = "openai"
    text_dim: int = 640
    language_to_image: bool = True
    separation: str = "sep"
    time: str = "absolute"
    tokens_per_prompt: int = 32
    mask_blank: bool = False
    grounding_average: bool = True
    permute_time: bool = True
    official_compat: bool = False
    short_side: int | None = None
    clip_length: int | None = None
    overlap: int | None = None
    propagation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_propagation("UniVSConfig", self.propagation)
        for name, known in {"separation": SEPARATIONS, "time": TIMES}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"UniVSConfig: {name} must be one of {known}, got {getattr(self, name)!r}"
                )
