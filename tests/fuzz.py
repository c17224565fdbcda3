"""Readers under input that is steered towards code not yet reached; needs ``pip install atheris``.

``python -m tests.fuzz checkpoint -max_total_time=600`` ends with a traceback, and a file of the
input, where a reader raises what it does not document. Further options are libFuzzer's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["segblocks"]):
    from segblocks.data.rle_sequence import RLEMasks
    from segblocks.inference.writers import read_result
    from segblocks.label_files import read_pixels
    from segblocks.ops.rle import decode, from_coco
    from segblocks.zoo.checkpoint import load_checkpoint

_PLACE = Path(tempfile.mkdtemp())
_SIZE = (9, 7)


def fuzz_rle(data: bytes) -> None:
    """Compressed run lengths, and a COCO mask of any of them."""
    mask = decode(from_coco({"size": _SIZE, "counts": data}))
    assert mask.shape == _SIZE


def fuzz_segment(data: bytes) -> None:
    """The mask of an annotation file, of any types."""
    provider = atheris.FuzzedDataProvider(data)
    size = [provider.ConsumeIntInRange(-1, 9) for _ in range(provider.ConsumeIntInRange(0, 3))]
    counts: object = provider.ConsumeIntList(provider.ConsumeIntInRange(0, 9), 5)
    if provider.ConsumeBool():
        counts = provider.ConsumeUnicodeNoSurrogates(12)
    RLEMasks({0: {1: {"size": size, "counts": counts}}}, _SIZE, "file")(0)


def fuzz_checkpoint(data: bytes) -> None:
    """A file of weights: safetensors, zip, legacy, pickle."""
    path = _PLACE / "w.pth"
    path.write_bytes(data)
    load_checkpoint(path)


def fuzz_picture(data: bytes) -> None:
    """A picture of ids."""
    path = _PLACE / "p.png"
    path.write_bytes(data)
    read_pixels(path)


def fuzz_result(data: bytes) -> None:
    """The JSON of a saved result."""
    path = _PLACE / "result.json"
    path.write_bytes(data)
    read_result(path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    name.removeprefix("fuzz_"): target
    for name, target in dict(globals()).items()
    if name.startswith("fuzz_")
}


def main() -> None:
    """Fuzz one reader."""
    target = TARGETS[sys.argv.pop(1)]

    def once(data: bytes) -> None:
        try:
            target(data)
        except ValueError as error:  # what all readers document
            if not str(error):
                raise

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
