"""``python -m segblocks.cli``."""

from __future__ import annotations

import sys

from segblocks.cli import main

if __name__ == "__main__":
    sys.exit(main())
