"""What a UniVS model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from segblocks.nn.prompt_attention import SEPARATIONS

TIMES = ("absolute", "relative")


@dataclass(frozen=True)
class UniVSConfig:
    """The numbers of a UniVS model; defaults are those of the released ResNet-50 checkpoints.

    Args:
        backbone: a name that :class:`~segblocks.nn.TimmBackbone` knows.
        num_queries: learnable queries.
        embed_dim: C.
        num_heads: M, everywhere.
        neck_layers: of deformable attention.
        neck_hidden_dim: of the neck's feed-forward blocks.
        num_points: points that deformable attention samples a level.
        decoder_layers: rounds of attention to prompts, to pixels, to queries, and feed-forward.
        decoder_hidden_dim: of the decoder's feed-forward blocks.
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
        drop_path: of a Swin backbone in training.
        size_multiple: frames are padded at the right and the lower border to multiples of it.
        padding_value: of padded pixels on the scale of 0..255; None is the mean colour, as in the
            official code, which pads with 0 after normalisation.
        pixel_mean: RGB, 0..255.
        pixel_std: RGB, 0..255.

    Raises:
        ValueError: numbers that are not positive, or an unknown separation or time.
    """

    backbone: str = "resnet50"
    num_queries: int = 200
    embed_dim: int = 256
    num_heads: int = 8
    neck_layers: int = 6
    neck_hidden_dim: int = 1024
    num_points: int = 4
    decoder_layers: int = 9
    decoder_hidden_dim: int = 2048
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
    drop_path: float = 0.3
    size_multiple: int = 32
    padding_value: float | None = None
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        counts = {n: v for n, v in vars(self).items() if self.__annotations__[n] == "int"}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"UniVSConfig: {name} must be a whole number from 1, got {value!r}"
                )
        for name, known in {"separation": SEPARATIONS, "time": TIMES}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"UniVSConfig: {name} must be one of {known}, got {getattr(self, name)!r}"
                )
