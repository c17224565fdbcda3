from __future__ import annotations

import re
from pathlib import Path

import torch


def test_the_training_step_of_the_guide_runs() -> None:
    guide = Path(__file__).parents[2] / "docs" / "losses.md"
    (code,) = re.findall(r"```python\n(.*?)```", guide.read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, str(guide), "exec"), names)
    assert torch.isfinite(names["loss"])
    assert names["features"].grad.any()
    assert names["embeddings"].grad.any()
    assert names["class_logits"].grad.any()
