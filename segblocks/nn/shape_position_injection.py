"""How queries learn in the decoder what the masks that they predict look like (GvSeg)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from segblocks.nn.clip_output import Prediction
from segblocks.nn.decoder import DecoderContext
from segblocks.nn.queries import Queries
from segblocks.nn.shape_position import ShapePositionDescriptor

ClipRule = Literal["mean", "last", "union"]


class ShapePositionInjection(nn.Module):
    """Add to queries the descriptors of the masks that they predicted last (GvSeg eq. 5).

    It stands between cross-attention and self-attention, as a position code would: ``q + H``. Only
    things get one: queries of ``groups``, of those the ones that ``context.select`` names, and of
    those the ones whose mask has ``min_area`` pixels. All others pass unchanged, bit for bit.

    The masks are those of the prediction (figure 3c) and never the truth, which inference does not
    have. No gradient passes through the descriptors. It has no parameters, so that one stands for
    all layers.

    Args:
        descriptor: of masks, with the C of the queries.
        groups: of queries that stand for things; names that a clip lacks are passed over.
        clip: what stands for the masks of a query on several frames: the "mean" of the descriptors
            that are valid, that of the "last" frame, or that of the "union" of the masks. Queries
            (B, Q, T, C) get the descriptor of their own frame.
        min_area: of a mask, in pixels of the mask features.

    Raises:
        ValueError: another rule.

    Example:
        >>> context = DecoderContext({}, mask_features=torch.randn(1, 2, 8, 32, 32))
        >>> context.prediction = Prediction(torch.zeros(1, 5, 8), torch.randn(1, 5, 8))
        >>> queries = Queries(torch.zeros(1, 5, 8), torch.zeros(1, 5, 8), {"instance": slice(0, 4)})
        >>> injection = ShapePositionInjection(ShapePositionDescriptor(8))
        >>> injection(queries, context).content.any(-1).tolist()
        [[True, True, True, True, False]]
    """

    def __init__(
        self,
        descriptor: ShapePositionDescriptor,
        *,
        groups: Sequence[str] = ("instance", "object", "object_background"),
        clip: ClipRule = "mean",
        min_area: int = 16,
    ) -> None:
        super().__init__()
        if clip not in get_args(ClipRule):
            raise ValueError(
                f"ShapePositionInjection: clip must be one of {get_args(ClipRule)}, got {clip!r}"
            )
        self.descriptor = descriptor
        self.groups = tuple(groups)
        self.clip: ClipRule = clip
        self.min_area = min_area

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Add descriptors to the content of the selected queries.

        Raises:
            ValueError: nothing was predicted before, or the context has no mask features.
        """
        if context.prediction is None or context.mask_features is None:
            raise ValueError(
                "ShapePositionInjection: put a Predict step before it, and make the context with "
                "mask_features, for its masks"
            )
        selected = self._select(queries, context)
        batch, places = _places(selected)
        vectors = self._vectors(context, batch, places, per_frame=queries.per_frame)
        added = torch.zeros_like(queries.content)
        added[batch, places] = vectors.to(added.dtype)
        if torch.compiler.is_exporting():
            added = added * selected.view(*selected.shape, *[1] * (added.dim() - 2))
        return queries.with_content(queries.content + added)

    def _select(self, queries: Queries, context: DecoderContext) -> Tensor:
        assert context.prediction is not None
        shape = queries.content.shape[:2]
        things = torch.zeros(shape, dtype=torch.bool, device=queries.content.device)
        for group in self.groups:
            if group in queries.groups:
                # Assigned, the value would come from the CPU in older versions of PyTorch.
                things[:, queries.groups[group]].fill_(True)
        return things if context.select is None else things & context.select(context.prediction)

    @torch.no_grad()
    def _vectors(
        self, context: DecoderContext, batch: Tensor, places: Tensor, *, per_frame: bool
    ) -> Tensor:
        """Vectors (n, C), or (n, T, C) for queries that have frames."""
        masks = selected_masks(context, batch, places)
        if self.clip == "last" and not per_frame:
            masks = masks[:, -1:]
        elif self.clip == "union" and not per_frame:
            masks = masks.any(1, keepdim=True)
        shapes = self.descriptor(masks, context.canvas)
        valid = shapes.valid & (masks.sum((-2, -1)) >= self.min_area)
        vectors = shapes.vector * valid[..., None]
        return vectors if per_frame else vectors.sum(1) / valid.sum(1).clamp(min=1)[:, None]


def _places(selected: Tensor) -> tuple[Tensor, Tensor]:
    """The clip and the place in it of each query to work on: (n,) and (n,) int64."""
    if not torch.compiler.is_exporting():
        batch, places = selected.nonzero().unbind(1)
        return batch, places
    # How many there are must not depend on values in a program: there it works on all.
    clips, queries = selected.shape
    device = selected.device
    batch = torch.arange(clips, device=device)[:, None].expand(-1, queries).flatten()
    return batch, torch.arange(queries, device=device).repeat(clips)


def selected_masks(context: DecoderContext, batch: Tensor, places: Tensor) -> Tensor:
    """Make the masks of some queries from the last prediction.

    Args:
        context: with a prediction and mask features.
        batch: (n,) int64, the clip of each query.
        places: (n,) int64, its place in the clip.

    Returns:
        (n, T, h, w) bool, where the logit is positive; without padding.
    """
    features, prediction = context.mask_features, context.prediction
    assert features is not None
    assert prediction is not None
    height, width = context.canvas or features.shape[-2:]
    features = features[..., :height, :width]
    chosen = prediction.mask_embeddings[batch, places]
    equation = "ntc,tchw->nthw" if chosen.dim() == 3 else "nc,tchw->nthw"
    if len(features) == 1:
        return torch.einsum(equation, chosen, features[0]) > 0
    shape = (len(batch), features.shape[1], height, width)
    masks = torch.zeros(shape, dtype=torch.bool, device=features.device)
    for clip, of_clip in enumerate(features):
        here = batch == clip
        masks[here] = torch.einsum(equation, chosen[here], of_clip) > 0
    return masks


class ConfidentThings:
    """Select the queries that are probably things: what inference passes as ``context.select``.

    Args:
        things: (K,) bool, which classes are things.
        min_score: the softmax probability of a class of things is above it.

    Example:
        >>> select = ConfidentThings([True, False])
        >>> logits = torch.tensor([[[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 9.0]]])
        >>> nothing = torch.zeros(1, 3, 8)
        >>> select(Prediction(nothing, nothing, logits)).tolist()
        [[True, False, False]]
    """

    def __init__(self, things: Sequence[bool] | Tensor, *, min_score: float = 0.1) -> None:
        self.things = torch.as_tensor(things, dtype=torch.bool)
        self.min_score = min_score

    def __call__(self, prediction: Prediction) -> Tensor:
        """Select, (B, Q) bool: things that are likelier than any stuff, and likely enough.

        Raises:
            ValueError: the prediction has no classes of all queries, or another number of them.
        """
        logits, queries = prediction.class_logits, prediction.queries
        want = (*queries.shape[:2], len(self.things) + 1)
        if logits is None or (*logits.shape[:2], logits.shape[-1]) != want:
            got = None if logits is None else tuple(logits.shape)
            raise ValueError(
                f"ConfidentThings: class logits must be of all queries and classes {want}, "
                f"got {got}"
            )
        scores = logits.detach().float().softmax(-1)[..., :-1]
        scores = scores.mean(2) if scores.dim() == 4 else scores
        things = self.things.to(scores.device)
        of_things = scores.masked_fill(~things, 0).amax(-1)
        return (of_things > self.min_score) & (of_things >= scores.amax(-1))
