"""A prediction by the heads of another step, under a name of its own."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from segblocks.nn.decoder import DecoderContext
from segblocks.nn.decoder_steps import Predict
from segblocks.nn.queries import Queries


class PredictAs(nn.Module):
    """Let a Predict step of the same decoder predict here too, and name the prediction otherwise.

    So a loss can tell the predictions after an injection from those after a layer. The weights are
    those of the other step, which has to stand in the decoder itself: they are saved once, there.

    Args:
        predict: the other step.
        name: of the predictions recorded here.

    Example:
        >>> import torch
        >>> from segblocks.nn import MaskEmbedding, mlp
        >>> context = DecoderContext(levels={})
        >>> queries = Queries(torch.zeros(1, 5, 8), torch.zeros(1, 5, 8), {"any": slice(0, 5)})
        >>> predict = Predict(nn.LayerNorm(8), MaskEmbedding(mlp(8, 8)))
        >>> _ = PredictAs(predict, "taxonomy")(queries, context)
        >>> context.prediction.name
        'taxonomy'
    """

    def __init__(self, predict: Predict, name: str) -> None:
        super().__init__()
        self.name = name
        # In a tuple, so that the module is not registered, and saved, a second time.
        self._predict = (predict,)

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Record a prediction; the queries pass unchanged."""
        queries = self._predict[0](queries, context)
        assert context.prediction is not None
        context.prediction = replace(context.prediction, name=self.name)
        context.predictions[-1] = context.prediction
        return queries
