"""What ``segblocks info`` tells."""

from __future__ import annotations

from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import torch

from segblocks import __version__
from segblocks.cli import info, main
from segblocks.ops import backend_report
from segblocks.zoo import registry


def test_info_names_versions_backends_and_extras(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "reference")
    assert main(["info"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    told = {line[0]: line[1] if len(line) > 1 else "" for line in lines}
    assert told["segblocks"] == __version__
    assert told["torch"].startswith(torch.__version__.partition("+")[0])
    assert told["SEGBLOCKS_BACKEND"] == "reference"
    for op, (backend, reason) in backend_report("cpu").items():
        assert {f"{backend}: {reason}"} <= {" ".join(line[1:]) for line in lines if line[0] == op}


def test_a_backend_that_does_not_exist_is_told_after_everything_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "tritom")
    assert main(["info"]) == 2
    captured = capsys.readouterr()
    assert "extras:" in captured.out
    assert "SEGBLOCKS_BACKEND must be one of" in captured.err
    assert "'tritom'" in captured.err


def test_a_backend_says_which_operations_it_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "cpp")
    assert main(["info"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "SEGBLOCKS_BACKEND=cpp names none of its backends" in lines["space_time_attention"]
    assert "SEGBLOCKS_BACKEND=cpp" in lines["ms_deform_attn"]
    assert "names none" not in lines["ms_deform_attn"]


@pytest.mark.parametrize("present", [True, False])
def test_extras_are_present_or_named_with_their_command(
    present: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda _: object() if present else None)
    monkeypatch.setattr(info, "_version", lambda _: "1.2.3")
    main(["info"])
    out = capsys.readouterr().out
    assert ("av 1.2.3" in out) is present
    assert ("missing: pip install 'segblocks[video]'" in out) is not present


def test_every_extra_of_the_project_that_brings_a_module_is_listed() -> None:
    import tomllib
    from pathlib import Path

    from segblocks._optional import EXTRAS

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert set(EXTRAS) <= set(extras)
    for extra in ("video", "xformers", "text", "train", "eval"):
        assert (extra in extras) == (extra in EXTRAS), extra


def test_weights_that_come_along_are_listed_with_their_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(registry.get_entry("tarvis_nano"), default_checkpoint=tmp_path)
    monkeypatch.setattr(registry, "_MODELS", {"tarvis_nano": entry})
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "reference")
    for content, told in ((None, "MISSING"), (bytes(3 * 2**19), "1.5 MiB"), ("none", "none")):
        if isinstance(content, bytes):
            (tmp_path / "model.safetensors").write_bytes(content)
        if content == "none":
            monkeypatch.setattr(registry, "_MODELS", {})
        assert main(["info"]) == 0
        _, _, text = capsys.readouterr().out.partition("models that come with trained weights:")
        assert told in text.splitlines()[1]
