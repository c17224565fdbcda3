"""Models go to the hub and come back, without a network."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import nn

from segblocks.zoo import hub, registry
from segblocks.zoo.hub import PretrainedModel
from segblocks.zoo.registry import from_pretrained, register_model


@dataclass(frozen=True)
class SmallConfig:
    width: int = 3


class Small(PretrainedModel):
    tasks = ("vis",)

    def __init__(self, config: SmallConfig | None = None) -> None:
        super().__init__()
        self.config = config or SmallConfig()
        self.body = nn.Linear(2, self.config.width)


class Repository:
    """What the hub keeps of a model: the files of the last commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: list[dict[str, Any]] = []

    def upload(self, api: HfApi, *, folder_path: Path, **commit: Any) -> str:
        shutil.copytree(folder_path, self.folder / commit["repo_id"], dirs_exist_ok=True)
        self.commits.append(commit)
        return f"https://huggingface.co/{commit['repo_id']}/commit/1"

    def download(self, repo_id: str, **options: Any) -> str:
        if not (self.folder / repo_id).is_dir():
            raise LocalEntryNotFoundError("Cannot find the requested files in the disk cache")
        return str(self.folder / repo_id)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository(tmp_path / "hub")
    monkeypatch.setattr(registry, "_MODELS", {})
    register_model("small", SmallConfig(), Small, description="a small one")
    monkeypatch.setattr(
        HfApi, "create_repo", lambda _, repo_id, **__: type("Url", (), {"repo_id": repo_id})
    )
    monkeypatch.setattr(HfApi, "upload_folder", lambda api, **commit: found.upload(api, **commit))
    monkeypatch.setattr(hub, "snapshot_download", found.download)
    return found


def test_a_pushed_model_comes_back(repository: Repository) -> None:
    model = Small(SmallConfig(width=5))
    address = model.push_to_hub("me/small", commit_message="First")
    assert address == "https://huggingface.co/me/small/commit/1"
    assert repository.commits[0]["commit_message"] == "First"
    for loaded in (from_pretrained("me/small"), Small.from_pretrained("me/small")):
        assert loaded.config == model.config
        assert torch.equal(loaded.body.weight, model.body.weight)


def test_saving_may_push_too(repository: Repository, tmp_path: Path) -> None:
    metrics = {"davis2017": {"J&F": 0.5}}
    address = Small().save_pretrained(
        tmp_path / "out", repo_id="me/small", push_to_hub=True, metrics=metrics, branch="next"
    )
    assert address is not None
    assert repository.commits[0]["revision"] == "next"
    pushed = (repository.folder / "me/small/README.md").read_text()
    assert pushed == (tmp_path / "out/README.md").read_text()


def test_the_card_says_what_is_known(repository: Repository) -> None:
    model = Small()
    model.provenance = {"file": "x.pth", "sha256": "12ab"}
    model.push_to_hub("me/small", metrics={"davis2017": {"J&F": 0.512}, "ovis": {"AP": 3.0}})
    card = ModelCard.load(repository.folder / "me/small/README.md")
    assert card.data.library_name == "segblocks"
    found = {(r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results or ()}
    assert found == {("davis2017", "J&F"): 0.512, ("ovis", "AP"): 3.0}
    for words in ('from_pretrained("me/small")', "9 parameters", "tasks: vis", "| width | `3` |"):
        assert words in card.text
    assert "sha256 `12ab`" in card.text


def test_a_card_without_metrics_claims_none(repository: Repository) -> None:
    Small().push_to_hub("me/small")
    card = ModelCard.load(repository.folder / "me/small/README.md")
    assert card.data.eval_results is None
    assert "Metrics" not in card.text


def test_only_what_the_card_knows_may_be_given(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made from the model"):
        Small().save_pretrained(tmp_path / "out", model_card_kwargs={"license": "mit"})
    assert not (tmp_path / "out").exists()


def test_without_a_network_the_repository_is_named(repository: Repository) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder me/small here.*without a network"):
        from_pretrained("me/small")


def test_a_push_without_a_network_is_a_connection_error(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the hub's own HTTP library raises where a host is not found.
    unreachable = hub._HTTP_ERROR("Name or service not known")

    def fail(*_: Any, **__: Any) -> None:
        raise unreachable

    monkeypatch.setattr(HfApi, "create_repo", fail)
    with pytest.raises(OSError, match="Name or service not known"):
        Small().push_to_hub("me/small")
    assert not issubclass(hub._HTTP_ERROR, HfHubHTTPError)
