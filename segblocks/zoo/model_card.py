"""The model card of a saved model: the README of its folder, and its page on the hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from torch import nn

import segblocks

Metrics = Mapping[str, Mapping[str, float]]
"""Dataset -> metric -> value."""

_TAGS = ("pytorch_model_hub_mixin", "segblocks", "video-segmentation")
_BODY = """\
# {architecture}

A video segmentation model saved by [segblocks](https://pypi.org/project/segblocks/) {version}:
{parameters:,} parameters; tasks: {tasks}.

```python
import segblocks

model = segblocks.from_pretrained("{place}")
```

{origin}{metrics}## Config

| field | value |
|---|---|
{config}
"""
_METRICS = """\
## Metrics

Given by whoever saved the model; `segblocks evaluate` measures them.

| dataset | metric | value |
|---|---|---|
{rows}

"""


def write_card(
    model: nn.Module,
    config: Any,
    provenance: Mapping[str, str],
    *,
    metrics: Metrics | None = None,
    repo_id: str | None = None,
) -> str:
    """Write a card from what is known of a model.

    Args:
        model: with ``tasks``, where it has any.
        config: the dataclass that it was made from.
        provenance: where its weights come from, empty for random ones.
        metrics: dataset -> metric -> value.
        repo_id: ``owner/name`` on the hub, None for a folder.

    Returns:
        Markdown with the hub's metadata before it.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     width: int = 3
        >>> card = write_card(nn.Linear(2, 3), Config(), {}, metrics={"davis2017": {"J&F": 0.6}})
        >>> "| davis2017 | J&F | 0.6 |" in card, "| width | `3` |" in card
        (True, True)
    """
    architecture = type(model).__name__
    origin = ", ".join(f"{key} `{value}`" for key, value in provenance.items())
    fields = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    body = _BODY.format(
        architecture=architecture,
        version=segblocks.__version__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tasks=", ".join(getattr(model, "tasks", ())) or "none",
        place=repo_id or "this folder",
        origin=f"Weights from {origin}.\n\n" if origin else "",
        metrics=_METRICS.format(rows="\n".join(_rows(metrics))) if metrics else "",
        config="\n".join(f"| {name} | `{value!r}` |" for name, value in fields),
    )
    data = ModelCardData(
        library_name="segblocks",
        tags=list(_TAGS),
        model_name=(repo_id or architecture).rpartition("/")[-1] if metrics else None,
        eval_results=_results(metrics) if metrics else None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _rows(metrics: Metrics) -> list[str]:
    return [
        f"| {dataset} | {name} | {value:g} |"
        for dataset, values in metrics.items()
        for name, value in values.items()
    ]


def _results(metrics: Metrics) -> list[EvalResult]:
    return [
        EvalResult("video-segmentation", dataset, dataset, name, float(value))
        for dataset, values in metrics.items()
        for name, value in values.items()
    ]
