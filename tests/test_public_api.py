"""What users call does not change unless somebody means it to."""

from __future__ import annotations

import difflib

from tests.public_api import FROZEN, describe


def test_the_public_api_is_the_frozen_one() -> None:
    now = describe()
    changes = difflib.unified_diff(FROZEN.read_text().splitlines(), now.splitlines(), n=0)
    found = [line for line in changes if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    advice = (
        "the public API has changed; if that is meant, `python -m tests.public_api` freezes it "
        "anew, and docs/stability.md says what a change asks for:\n"
    )
    assert not found, advice + "\n".join(found)
