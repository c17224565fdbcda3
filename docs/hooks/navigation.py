"""Folders in the navigation: ``zoo/`` stands for all pages there, whichever hook has made them."""

from __future__ import annotations

from typing import Any


def on_files(files: Any, config: Any) -> None:
    """Put the pages of a folder where the navigation names it; this hook is the last."""
    pages = [file.src_uri for file in files if file.is_documentation_page()]
    config["nav"] = _filled(config["nav"], pages)


def _filled(entry: Any, pages: list[str]) -> Any:
    if isinstance(entry, list):
        return [_filled(part, pages) for part in entry]
    if isinstance(entry, dict):
        return {title: _filled(part, pages) for title, part in entry.items()}
    return [page for page in pages if page.startswith(entry)] if entry.endswith("/") else entry
