"""READMEs that lie beside the code, as pages of the site.

A kernel and a trained model are described where they lie. The site shows the same files: nothing is
copied by hand, and a folder that is added is a page that is added.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
# The folder of the site, as the navigation names it, and where the READMEs are.
SECTIONS = {
    "kernels": ROOT / "kernels" / "segblocks_kernels",
    "models": ROOT / "segblocks" / "zoo" / "weights",
}
PAGES = {
    f"{section}/{readme.parent.name}.md": readme
    for section, folder in SECTIONS.items()
    for readme in sorted(folder.glob("*/README.md"))
}
_ADDRESSES = {readme: address for address, readme in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+\.(?:md|png|svg|jpg))(?=[)#])")


def on_files(files: Any, config: Any) -> None:
    """Add the pages to those of ``docs``."""
    for address, readme in PAGES.items():
        text = readme.read_text(encoding="utf-8")
        files.append(File.generated(config, address, content=text + _plots(address)))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links between pages hold on the site as they hold between files."""
    address = page.file.src_uri
    folder = (PAGES.get(address) or DOCS / address).parent

    def moved(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link["path"]))
        there = _ADDRESSES.get(target) or os.path.relpath(target, DOCS)
        return Path(os.path.relpath(there, Path(address).parent)).as_posix()

    return _LINK.sub(moved, markdown)


def _plots(address: str) -> str:
    """What has been measured of a kernel, a picture a run; nothing for other pages."""
    plots = sorted((DOCS / "images").glob(f"benchmark_*_{Path(address).stem}.svg"))
    if not plots:
        return ""
    lines = ["", "## Plots", ""]
    for plot in plots:
        there = os.path.relpath(plot, PAGES[address].parent)
        lines += [f"![times beside those of segblocks, {plot.stem}]({there})", ""]
    lines += ["All figures, with the machine: [benchmarks](../../../docs/benchmarks.md).", ""]
    return "\n".join(lines)
