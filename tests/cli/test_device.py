"""Choosing a device."""

from __future__ import annotations

import pytest
import torch

from segblocks.cli.device import choose_device


def test_named_and_chosen() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device(None).type == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", ""])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(ValueError, match="--device") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)
