"""TarViS with a part missing, for ablations (TarViS Tables 4 and S1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from segblocks.nn import LinearClassHead, Predict, Queries
from segblocks.zoo.tarvis import TarViS, TarViSConfig

ALL_TASKS = {"vis": 0.25, "vps": 0.25, "vos": 0.25, "pet": 0.25}
# What objects are asked for by; it is learnt long before classes are.
HINTS = {"vos": 0.5, "pet": 0.5}


class WithoutBackgroundQueries(TarViS):
    """Hinted objects have queries, what is around them has none."""

    def _encode(self, hinted: Any, levels: Any, generator: Any) -> Any:
        encoded = super()._encode(hinted, levels, generator)
        return encoded._replace(background=encoded.background[:0])


class LinearClasses(TarViS):
    """Instance queries alone, classified by a linear layer; for VIS."""

    tasks = ("vis",)

    def __init__(self, config: TarViSConfig) -> None:
        super().__init__(config)
        predict = next(block for block in self.decoder.blocks if isinstance(block, Predict))
        num_classes = len(self.queries.semantic)
        predict.class_head = LinearClassHead(config.embed_dim, num_classes, group="instance")

    def _ask(self, tasks: Any, levels: Any, size: Any, generator: Any = None) -> Any:
        asked = super()._ask(tasks, levels, size, generator)
        queries, instance = asked.queries, asked.queries.groups["instance"]
        position = queries.position[:, instance]
        alone = Queries(queries.content[:, instance], position, {"instance": instance})
        return asked._replace(queries=alone)


@dataclass(frozen=True)
class Variant:
    """Say what is trained.

    Args:
        make: from the config of the whole model.
        tasks: what it is trained for and measured on, and how often.
    """

    make: Callable[[TarViSConfig], TarViS]
    tasks: Mapping[str, float]


def pooled_objects(config: TarViSConfig) -> TarViS:
    """Object queries are mean features, without an object encoder."""
    model = TarViS(config)
    model.object_encoder.layers = nn.ModuleList()
    return model


def changed(**fields: Any) -> Callable[[TarViSConfig], TarViS]:
    """Make the model with other values in its config."""
    return lambda config: TarViS(replace(config, **cast(Any, fields)))


VARIANTS = {
    # One training for all tasks, and one for each.
    "full": Variant(TarViS, ALL_TASKS),
    "VIS alone": Variant(TarViS, {"vis": 1.0}),
    "VIS alone, linear classes": Variant(LinearClasses, {"vis": 1.0}),
    "VPS alone": Variant(TarViS, {"vps": 1.0}),
    "hints alone": Variant(TarViS, HINTS),
    # Of which one part is missing.
    "hints alone, no temporal attention": Variant(changed(cells=()), HINTS),
    "hints alone, pooled objects": Variant(pooled_objects, HINTS),
    "hints alone, no background queries": Variant(WithoutBackgroundQueries, HINTS),
    "hints alone, one query an object": Variant(changed(queries_per_object=(1, 1)), HINTS),
}
