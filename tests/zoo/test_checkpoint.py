from __future__ import annotations

import collections
import functools
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from segblocks._files import write_atomically
from segblocks.zoo.checkpoint import (
    CheckpointError,
    check_finite,
    file_hash,
    load_checkpoint,
    read_metadata,
    save_safetensors,
)
from tests.damage import damaged
from tests.disk import full_disk


class Marker:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def state() -> dict[str, Tensor]:
    return {
        "a.weight": torch.arange(6.0).view(2, 3),
        "b": torch.tensor(7),
        "c": torch.ones(2).half(),
    }


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(got) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=0)


def training_checkpoint(key: str) -> dict[str, Any]:
    """What training code leaves beside the weights."""
    return {
        key: collections.OrderedDict(state()),
        "iteration": 90_000,
        "best": np.float64(0.5),
        "loss": np.float32(1.5),
        "steps": np.int64(3),
        "history": np.arange(3),
        "schedule": {"milestones": collections.Counter([6, 6, 9]), "warm": np.bool_(True)},
        "groups": collections.defaultdict(list, {"slow": [0, 1]}),
        "recent": collections.deque([1.5], maxlen=20),
        "seen": {1, 2},
        "key": b"\xff\x00",
    }


@pytest.mark.parametrize("key", ["model", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_reads_the_weights_of_a_training_checkpoint(tmp_path: Path, key: str, zipped: bool) -> None:
    path = tmp_path / "000123.pth"
    torch.save(training_checkpoint(key), path, _use_new_zipfile_serialization=zipped)
    assert_same(load_checkpoint(path), state())


def test_reads_a_bare_state_dict(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    assert_same(load_checkpoint(str(tmp_path / "w.pt")), state())


@pytest.mark.parametrize("protocol", range(6))
def test_reads_a_plain_pickle_of_arrays(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model_final.pkl"
    arrays = {name: value.numpy() for name, value in state().items()}
    content = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    assert_same(load_checkpoint(path), state())


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_keep_layout_and_byte_order(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "w.pkl"
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"f": np.asfortranarray(base), "big": base.astype(">f8"), "empty": base[:0]}
    arrays["bool"] = base > 3
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    assert_same(
        load_checkpoint(path),
        {
            "f": torch.from_numpy(base),
            "big": torch.from_numpy(base).double(),
            "empty": torch.empty(0, 3, 4),
            "bool": torch.from_numpy(base > 3),
        },
    )


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([{}]), np.array([1j])])
def test_arrays_that_hold_no_real_numbers_are_no_weights(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"names": array, "model": {"a": np.ones(1)}}))
    assert_same(load_checkpoint(path), {"a": torch.ones(1, dtype=torch.float64)})
    path.write_bytes(pickle.dumps({"names": array}))
    with pytest.raises(CheckpointError, match="no tensors: names"):
        load_checkpoint(path)


def test_reads_the_names_of_older_numpy(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    content = pickle.dumps({"w": np.ones(3, np.float32)}, protocol=2)
    renamed = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert renamed != content
    path.write_bytes(renamed)
    assert_same(load_checkpoint(path), {"w": torch.ones(3)})


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, kind: str) -> None:
    path, proof = tmp_path / "bad.pth", tmp_path / "proof"
    content = {"model": state(), "extra": Marker(proof)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content["extra"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=rf"{os.mkdir.__module__}\.mkdir.*nothing.*run"):
        load_checkpoint(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Marker(proof)))
    assert proof.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtins_that_run_code_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(f"cbuiltins\n{name}\n.".encode())
    with pytest.raises(CheckpointError, match=rf"builtins\.{name}"):
        load_checkpoint(path)


def test_a_pickle_cannot_change_what_it_calls(tmp_path: Path) -> None:
    # Opcode b sets a state: here that of a class, which would last after loading.
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"cnumpy\nndarray\n(N(dVvalue\nI1\nstb.")
    with pytest.raises(CheckpointError, match="a state for a type"):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.98])
def test_a_file_cut_short_is_an_error(tmp_path: Path, kind: str, keep: float) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_safetensors(state(), path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"w": np.ones(99)}))
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError, match=r"w\.\w+: (damaged|the file is empty)"):
        load_checkpoint(path)


@functools.cache
def written(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "safetensors":
        return save(state())
    if kind == "pickle":
        return pickle.dumps({"model": {name: value.numpy() for name, value in state().items()}})
    torch.save({"model": state()}, file, _use_new_zipfile_serialization=kind == "zip")
    return file.getvalue()


def read_or_error(path: Path) -> dict[str, Tensor] | CheckpointError:
    try:
        return load_checkpoint(path)
    except CheckpointError as error:
        return error


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "safetensors"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_tensors_or_an_error_that_names_it(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    path.write_bytes(data.draw(damaged(written(kind), changes=4, cut=30, put=30)))
    read = read_or_error(path)
    if isinstance(read, CheckpointError):
        assert str(path) in str(read)
    else:
        assert all(isinstance(value, Tensor) for value in read.values())


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("code", [b"\x96", b"\x8e", b"\x8d"])  # bytearray, bytes, text
def test_a_length_that_is_wrong_reserves_no_memory(
    tmp_path: Path, code: bytes, length: int
) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x05" + code + length.to_bytes(8, "little") + b"few.")
    with pytest.raises(CheckpointError, match=r"w\.pkl: damaged"):
        load_checkpoint(path)


def test_bytes_of_protocol_5_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    content = {"model": {"a": np.ones(2, np.float32)}, "key": bytearray(b"\0" * 70_000)}
    path.write_bytes(pickle.dumps(content, protocol=5))
    assert_same(load_checkpoint(path), {"a": torch.ones(2)})


def test_a_length_cut_off_by_a_pickle_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x04X\x01")  # text, of which the length has one byte of four
    with pytest.raises(CheckpointError, match=r"w\.pkl: damaged"):
        load_checkpoint(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(IsADirectoryError, match=r"folder, .*from_pretrained"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["w.pth", "w.pkl", "w.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html><html><body>sign in</body></html>", "a web page"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    ],
)
def test_what_downloads_leave_instead_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: .*{message}"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_may_not_be_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")

    def refuse(file: Any, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError) as caught:
        load_checkpoint(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("name", ["w.bin", "w.safetensors"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    save_safetensors(state(), tmp_path / name)
    assert_same(dict(sorted(load_checkpoint(tmp_path / name).items())), state())


def test_metadata_of_any_file(tmp_path: Path) -> None:
    save_safetensors(state(), tmp_path / "w.safetensors", {"source": "lab"})
    assert read_metadata(tmp_path / "w.safetensors")["source"] == "lab"
    torch.save(state(), tmp_path / "w.pth")
    assert read_metadata(tmp_path / "w.pth") == {}


def test_bad_values_are_told_of_their_file() -> None:
    with pytest.raises(CheckpointError, match=r"^w\.pth: 1 tensors hold NaN"):
        check_finite({"a": torch.tensor(float("nan"))}, "w.pth")


def test_an_unwritable_place_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder") as caught:
        save_safetensors(state(), tmp_path / "no" / "w.safetensors")
    assert caught.value.filename == str(tmp_path / "no")
    with full_disk(50), pytest.raises(OSError, match="cannot write") as caught_full:
        save_safetensors(state(), tmp_path / "w.safetensors")
    assert caught_full.value.filename == str(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "expected a dict of tensors, got list"),
        ({}, "no state dict"),
        ({"optimizer": {"lr": 0.1}}, "no tensors: optimizer"),
        ({"model": {"a": torch.ones(1), "n": 3}}, "no tensors: n"),
    ],
)
def test_a_file_without_a_state_dict_is_an_error(
    tmp_path: Path, content: Any, message: str
) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "w.pth")


def test_safetensors_round_trip_with_shared_and_strided_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    shared = torch.arange(12.0).view(3, 4)
    written = {"a": shared, "b": shared, "c": shared.t(), "d": shared[1]}
    save_safetensors(written, path, {"architecture": "X"})
    assert_same(dict(sorted(load_checkpoint(path).items())), written)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "architecture": "X"}


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_safetensors({"a": torch.ones(1)}, path)

    def half(temporary: str) -> None:
        Path(temporary).write_bytes(b"half of it")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, half)
    assert_same(load_checkpoint(path), {"a": torch.ones(1)})
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text(json.dumps({}))
    save_safetensors({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "f") == expected


def test_values_that_are_not_finite_are_named() -> None:
    check_finite(state())
    bad = {**state(), "nan": torch.tensor([1.0, float("nan")]), "inf": torch.tensor(-float("inf"))}
    with pytest.raises(CheckpointError, match="2 tensors hold NaN or infinite values: nan, inf"):
        check_finite(bad)
