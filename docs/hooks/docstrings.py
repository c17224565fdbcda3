"""Docstrings as the API reference reads them.

Griffe, which reads them for it, knows neither Sphinx' roles nor ``Example:`` in the singular, and
takes the fields of a named tuple for attributes and not for arguments.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, Object

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_ARGS = re.compile(r"^Args:$", re.MULTILINE)


class Docstrings(Extension):
    """Turn roles into code, and an example into the section of examples."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class or function."""
        if obj.docstring is None:
            return
        text = _ROLE.sub(r"``\1``", obj.docstring.value)
        text = _EXAMPLE.sub("Examples:", text)
        if isinstance(obj, Class) and "NamedTuple" in map(str, obj.bases):
            text = _ARGS.sub("Attributes:", text)
        obj.docstring.value = text
