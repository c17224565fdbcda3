"""Mathematics that a browser draws by itself: LaTeX in fences becomes MathML.

The usual scripts for it are fetched from a network, which a reader may not have.
"""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert


def on_config(config: Any) -> None:
    """Let fences of the language ``math`` hold LaTeX, as they do on GitHub."""
    fences = config["mdx_configs"].setdefault("pymdownx.superfences", {})
    fences.setdefault("custom_fences", []).append(
        {"name": "math", "class": "math", "format": _format}
    )


def _format(source: str, language: str, name: str, *_: Any, **__: Any) -> str:
    return f'<div class="{name}">{convert(source, display="block")}</div>'
