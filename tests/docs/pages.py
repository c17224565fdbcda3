"""The pages of the documentation, and the code that stands on them.

A block of code is a fence or, for commands, indented lines. One that the tests do not run says why
in a comment above it, which a reader does not see: ``<!-- not run: it needs a checkpoint -->``.
``python -m tests.docs.pages`` lists those. ``<!-- needs: transformers -->`` has a block run where
that module is installed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = (
    "README.md",
    "docs/**/*.md",
    "kernels/segblocks_kernels/*/README.md",
    "segblocks/zoo/weights/*/README.md",
)
# Commands on these pages say what has been done, in hours, or measure.
RECORDS = {
    "kernels/": "measures an operation at full size",
    "segblocks/zoo/weights/": "trains or measures a model",
}
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
_REASON = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")
_NEEDS = re.compile(r"^ *<!-- needs: (?P<module>\w+) -->$")
_COMMAND = re.compile(
    r"^ *(?:\w+=\S+ )*(?:segblocks|(?:torchrun|accelerate launch) .*segblocks\.cli) "
)


@dataclass(frozen=True)
class Block:
    """Some code of a page.

    Args:
        page: the file, from the root of the project.
        line: where the code starts, from 1.
        language: that of the fence, or "".
        text: the code.
        reason: why it is not run, or None.
        needs: a module without which it does not run, or None.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    needs: str | None = None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each ``segblocks`` command, without ``segblocks``."""
        if self.language == "python":
            return []
        lines = re.split(r"\n| && ", self.text.replace("\\\n", " "))
        return [_words(line) for line in lines if _COMMAND.match(line)]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def list_pages() -> list[str]:
    """All pages, from the root of the project."""
    found = {path for pattern in PATTERNS for path in ROOT.glob(pattern)}
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def read_blocks(page: str) -> list[Block]:
    """The code of a page in order.

    Raises:
        ValueError: a reason that stands above no code.
    """
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return list(_blocks(page, lines))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    record = next((why for folder, why in RECORDS.items() if page.startswith(folder)), None)
    number, reason, needs = 0, None, None
    while number < len(lines):
        start = number
        if fence := _FENCE.match(lines[number]):
            language, number = fence["language"], start + 1
            while lines[number].strip() != "```":
                number += 1
            body = [line.removeprefix(fence["indent"]) for line in lines[start + 1 : number]]
            number += 1
            start += 1
        elif _COMMAND.match(lines[number]) and lines[number].startswith("    "):
            language = ""
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            body = lines[start:number]
        else:
            if (reason or needs) and lines[number].strip():
                raise ValueError(f"{page}:{number}: a reason must stand right above its code")
            if note := _REASON.match(lines[number]):
                reason = note["reason"]
            elif note := _NEEDS.match(lines[number]):
                needs = note["module"]
            number += 1
            continue
        by_rule = record if language != "python" else None
        yield Block(page, start + 1, language, "\n".join(body) + "\n", reason or by_rule, needs)
        reason = needs = None
    if reason or needs:
        raise ValueError(f"{page}: a reason must stand right above its code")


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    first = next(i for i, word in enumerate(words) if word in ("segblocks", "segblocks.cli"))
    return [word for word in words[first + 1 :] if word != "..."]


def main() -> None:
    """List the code that no test runs, with the reason."""
    for page in list_pages():
        for block in read_blocks(page):
            if block.reason and (block.language == "python" or block.commands):
                print(f"{block}: {block.reason}")


if __name__ == "__main__":
    main()
