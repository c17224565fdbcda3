from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
from pathlib import Path

import pytest
import torch

import segblocks_kernels
from segblocks_kernels import _tuning
from segblocks_kernels._tuning import LaunchKey, launch_config, tune

OP = "my_op.forward"
SLOW, FAST, FAILS = ({"BLOCK": block, "num_warps": 4} for block in (16, 32, 64))
CANDIDATES = [SLOW, FAST, FAILS]
TIMES = {16: 2.0, 32: 1.0, 64: math.inf}
GPU = torch.device("cuda", 0)
KEY = LaunchKey("float16", 32, 10, GPU)
TABLES = [
    {
        "devices": ["any"],
        "measured": False,
        "kernels": {
            "forward": [
                {"dtypes": ["float16"], "head_dim": [1, 32], "config": SLOW},
                {"log2_work": [4, 20], "config": FAILS},
            ]
        },
    },
    {"devices": ["sm_90"], "measured": True, "kernels": {}},
]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A process that has settled nothing, on a GPU that is named but absent."""
    monkeypatch.setattr(_tuning, "_settled", {})
    monkeypatch.setattr(_tuning, "_tables", lambda op: TABLES)
    names = {"cuda": ("NVIDIA Test", "sm_90", "any"), "cpu": ("any",)}
    monkeypatch.setattr(_tuning, "_device_names", lambda device: names[device.type])
    monkeypatch.setattr(_tuning, "_can_measure", lambda device: device.type == "cuda")
    monkeypatch.setattr(_tuning, "_median_ms", measured)
    monkeypatch.setattr(_tuning, "on_device", at_device)
    monkeypatch.setenv("SEGBLOCKS_CACHE", str(tmp_path))
    monkeypatch.delenv("SEGBLOCKS_TUNE", raising=False)


# The device that is current while something is timed.
current: list[torch.device] = []


@contextlib.contextmanager
def at_device(device):
    current.append(device)
    yield
    current.pop()


def measured(launch, config):
    assert current == [GPU]
    launch(config)
    return TIMES[config["BLOCK"]]


def configure(key=KEY, launch=lambda config: None):
    return launch_config(OP, key, CANDIDATES, launch)


def cached_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_often(magnitudes: list[int]) -> None:
    for _ in range(100):
        for magnitude in magnitudes:
            key = KEY._replace(log2_work=magnitude)
            _tuning._remember(_tuning.Choice(OP, key, FAST, 1.0))


def forget(monkeypatch):
    monkeypatch.setattr(_tuning, "_settled", {})


class TestKey:
    @pytest.mark.parametrize(
        ("dim", "padded"), [(0, 1), (1, 1), (2, 2), (24, 32), (32, 32), (33, 64)]
    )
    def test_heads_are_padded_to_a_power_of_two(self, dim, padded):
        assert LaunchKey.of(torch.empty(0), head_dim=dim, work=1).head_dim == padded

    @pytest.mark.parametrize("work", [0, 1, 2, 1023, 1024, 3 << 40])
    def test_work_counts_by_its_magnitude(self, work):
        got = LaunchKey.of(torch.empty(0), head_dim=1, work=work).log2_work
        assert 2**got <= max(work, 1) < 2 ** (got + 1)

    def test_type_and_device_are_those_of_the_tensor(self):
        key = LaunchKey.of(torch.empty(0, dtype=torch.bfloat16, device="meta"), head_dim=1, work=1)
        assert (key.dtype, key.device) == ("bfloat16", torch.device("meta"))


class TestShippedTable:
    def test_the_first_row_that_fits_is_taken(self):
        assert configure() == SLOW
        assert configure(KEY._replace(head_dim=64)) == FAILS
        assert configure(KEY._replace(dtype="float32")) == FAILS

    def test_a_key_without_a_row_is_an_error(self):
        with pytest.raises(LookupError, match=r"my_op\.forward: launch\.json has no row"):
            configure(KEY._replace(dtype="float32", log2_work=21))

    def test_the_most_special_table_comes_first(self, monkeypatch):
        kernels = {"forward": [{"config": FAST}]}
        special = [{"devices": ["sm_80", "sm_90"], "measured": True, "kernels": kernels}]
        monkeypatch.setattr(_tuning, "_tables", lambda op: TABLES + special)
        assert configure() == FAST
        assert configure(KEY._replace(device=torch.device("cpu"))) == SLOW
        named = [{"devices": ["NVIDIA Test"], "kernels": {"forward": [{"config": FAILS}]}}]
        monkeypatch.setattr(_tuning, "_tables", lambda op: TABLES + special + named)
        forget(monkeypatch)
        assert configure() == FAILS

    def test_a_caller_cannot_change_what_is_settled(self):
        configure()["BLOCK"] = 1
        assert configure() == SLOW


class TestNothingIsTimedUnasked:
    def test_no_launch_and_no_file(self, tmp_path):
        configure(launch=pytest.fail)
        assert cached_files(tmp_path) == []

    @pytest.mark.parametrize("value", ["", "0"])
    def test_nor_where_the_environment_says_no(self, monkeypatch, value):
        monkeypatch.setenv("SEGBLOCKS_TUNE", value)
        assert configure(launch=pytest.fail) == SLOW

    def test_nor_on_a_cpu(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SEGBLOCKS_TUNE", "1")
        assert configure(KEY._replace(device=torch.device("cpu")), pytest.fail) == SLOW
        assert cached_files(tmp_path) == []

    def test_too_many_candidates(self):
        with pytest.raises(ValueError, match="at most 12, got 13"):
            launch_config(OP, KEY, [SLOW] * 13)


class TestTuning:
    def test_the_fastest_that_runs_is_taken_and_kept(self, monkeypatch):
        launched = []
        choices = tune(lambda: [configure(launch=launched.append) for _ in range(2)])
        assert launched == CANDIDATES  # the default among them, each once
        assert choices == [(OP, KEY, FAST, 1.0)]
        assert configure(launch=pytest.fail) == FAST
        forget(monkeypatch)
        assert configure(launch=pytest.fail) == FAST

    def test_asked_again_it_measures_again(self):
        tune(configure)
        assert len(tune(configure)) == 1

    def test_keys_do_not_share_results(self):
        tune(configure)
        assert configure(KEY._replace(log2_work=11)) == SLOW

    def test_the_environment_asks_once_a_machine(self, monkeypatch):
        monkeypatch.setenv("SEGBLOCKS_TUNE", "1")
        assert configure() == FAST
        forget(monkeypatch)
        assert configure(launch=pytest.fail) == FAST

    def test_nothing_to_tune_is_an_error(self):
        with pytest.raises(RuntimeError, match="no tunable Triton kernel"):
            segblocks_kernels.tune(lambda: None)

    def test_nothing_that_runs_is_an_error(self, monkeypatch):
        monkeypatch.setattr(_tuning, "_median_ms", lambda launch, config: math.inf)
        with pytest.raises(RuntimeError, match="no candidate fits NVIDIA Test"):
            tune(configure)
        assert configure(launch=pytest.fail) == SLOW  # and nobody is asked any more


class TestCache:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"[]",
            b'{"config": {}}',
            b'{"config": {"BLOCK": 32, "num_warps": 4}, "milliseconds": null}',
            b'{"config": {"BLOCK": 999, "num_warps": 4}, "milliseconds": 1.0}',
        ],
    )
    def test_a_corrupt_file_is_named_ignored_and_replaced(self, content, monkeypatch, tmp_path):
        tune(configure)
        (file,) = cached_files(tmp_path)
        file.write_bytes(content)
        forget(monkeypatch)
        with pytest.warns(UserWarning, match=file.name):
            assert configure() == SLOW
        tune(configure)
        assert json.loads(file.read_text())["config"] == FAST
        assert cached_files(tmp_path) == [file]

    def test_a_folder_that_cannot_be_written(self, monkeypatch, tmp_path):
        (tmp_path / "launch").write_text("in the way")
        with pytest.warns(UserWarning, match="cannot keep"):
            tune(configure)
        assert configure(launch=pytest.fail) == FAST

    def test_processes_write_side_by_side(self, monkeypatch, tmp_path):
        tune(configure)
        (file,) = cached_files(tmp_path)
        wanted = file.read_bytes()
        fork = multiprocessing.get_context("fork")
        running = [fork.Process(target=write_often, args=([10, work],)) for work in (11, 12)]
        for process in running:
            process.start()
        while any(process.is_alive() for process in running):
            assert file.read_bytes() == wanted  # never half of it
        assert [process.exitcode for process in running] == [0, 0]
        assert len(cached_files(tmp_path)) == 3
        forget(monkeypatch)
        assert configure(KEY._replace(log2_work=12), pytest.fail) == FAST
