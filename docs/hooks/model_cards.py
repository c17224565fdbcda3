"""A card for each model of the zoo whose weights do not come along, made of what the zoo knows.

What a card says of a model is read from its config and its recipes, so that it cannot be out of
date. Models with weights have READMEs of their own beside them, see ``readme_pages``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from mkdocs.structure.files import File

from segblocks.training.recipes import get_recipe, list_recipes
from segblocks.zoo import list_models
from segblocks.zoo.registry import ModelEntry, get_entry

SECTION = "zoo/"
# By what the names of a system's models begin with.
_PAPERS = {
    "tarvis": "Athar et al., TarViS, CVPR 2023",
    "univs": "Li et al., UniVS, CVPR 2024",
    "gvseg": "Chen et al., GvSeg, ECCV 2024",
    "tmt_vis": "Zheng et al., TMT-VIS, NeurIPS 2023",
    "mask2former_vis": "Cheng et al., Mask2Former for Video Instance Segmentation, 2021",
}
_CHECKPOINTS = """The published checkpoints are read strictly, see
[your checkpoint](../checkpoints.md). They have terms of their own, and are not distributed here."""
_NO_CHECKPOINTS = """There are no published checkpoints: train it, or start from a published
Mask2Former, see [the system](../{system}.md)."""
_CARD = """# {name}

{facts}

```python
import segblocks

model = segblocks.create_model("{name}", checkpoint="{checkpoint}")
```

{weights}

## Config

Keyword arguments of `create_model` change it.

{config}
"""


def on_files(files: Any, config: Any) -> None:
    """Add the cards to the pages."""
    for entry in without_weights():
        files.append(File.generated(config, f"{SECTION}{entry.name}.md", content=card(entry)))


def without_weights() -> list[ModelEntry]:
    """Return the models that need a card."""
    entries = map(get_entry, list_models())
    return [entry for entry in entries if entry.default_checkpoint is None]


def card(entry: ModelEntry) -> str:
    """Return the card of a model as Markdown."""
    system = max((s for s in _PAPERS if entry.name.startswith(s)), key=len)
    with torch.device("meta"):
        model: Any = entry.model_class(entry.config)
    count = sum(parameter.numel() for parameter in model.parameters())
    recipes = [name for name in list_recipes() if get_recipe(name).model == entry.name]
    facts = {
        "system": f"[{_PAPERS[system]}](../{system}.md)",
        "tasks": ", ".join(task.upper() for task in model.tasks),
        "parameters": f"{count / 1e6:.1f} M",
        "recipes": ", ".join(f"`{name}`" for name in recipes) or "none",
    }
    published = entry.source is not None
    return _CARD.format(
        name=entry.name,
        facts=_table(facts),
        checkpoint="FILE" if published else "random",
        weights=_CHECKPOINTS if published else _NO_CHECKPOINTS.format(system=system),
        config=_table(
            {
                f"`{field.name}`": f"`{getattr(entry.config, field.name)!r}`"
                for field in dataclasses.fields(entry.config)
            }
        ),
    )


def _table(rows: dict[str, str]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )
