"""What the build of the site does to pages and docstrings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from segblocks.zoo import list_models
from segblocks.zoo.registry import get_entry
from tests.docs.pages import ROOT

pytest.importorskip("mkdocs")
from mkdocs.structure.files import File, Files

pytest.importorskip("griffe")
pytest.importorskip("latex2mathml")


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(address: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_uri=address))


def test_each_kernel_and_each_card_is_a_page() -> None:
    readmes = {
        *ROOT.glob("kernels/segblocks_kernels/*/README.md"),
        *ROOT.glob("segblocks/zoo/weights/*/README.md"),
    }
    pages = hook("readme_pages").PAGES
    assert set(pages.values()) == readmes
    assert pages["kernels/ms_deform_attn.md"].parent.name == "ms_deform_attn"
    assert "models/tarvis_nano.md" in pages


def test_folders_of_the_navigation_are_filled() -> None:
    config = {"nav": []}
    config["nav"] = [
        {"Start": "index.md"},
        {"Kernels": ["kernels.md", {"Each": "kernels/"}, "zoo/"]},
    ]
    there = ("index.md", "kernels.md", "kernels/b.png", "kernels/b.md", "kernels/a.md", "zoo/c.md")
    pages = Files(
        [File(address, src_dir=None, dest_dir="", use_directory_urls=True) for address in there]
    )
    hook("navigation").on_files(pages, config)
    each = {"Each": ["kernels/b.md", "kernels/a.md"]}
    assert config["nav"] == [{"Start": "index.md"}, {"Kernels": ["kernels.md", each, ["zoo/c.md"]]}]


def test_a_model_without_weights_has_a_card_of_what_the_zoo_knows() -> None:
    cards = hook("model_cards")
    names = {entry.name for entry in cards.without_weights()}
    shipped = {path.parent.name for path in ROOT.glob("segblocks/zoo/weights/*/README.md")}
    assert names == set(list_models()) - shipped
    text = cards.card(get_entry("tarvis_resnet50"))
    assert "| parameters | 57.0 M |" in text
    assert "`tarvis_finetune_resnet50`" in text
    assert 'create_model("tarvis_resnet50", checkpoint="FILE")' in text
    assert "| `queries_per_object` | `(4, 8)` |" in text
    assert "no published checkpoints" in cards.card(get_entry("gvseg_resnet50"))


@pytest.mark.parametrize(
    ("address", "link", "moved"),
    [
        ("losses.md", "tarvis.md#clips", "tarvis.md#clips"),
        ("modules/decoder.md", "../images/a.png", "../images/a.png"),
        (
            "modules/decoder.md",
            "../../kernels/segblocks_kernels/ms_deform_attn/README.md#how",
            "../kernels/ms_deform_attn.md#how",
        ),
        ("kernels/ms_deform_attn_fused.md", "../ms_deform_attn/README.md", "ms_deform_attn.md"),
        ("models/tarvis_nano.md", "../../../../docs/training.md", "../training.md"),
        ("index.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("index.md", "#here", "#here"),
    ],
)
def test_links_between_files_hold_between_pages(address: str, link: str, moved: str) -> None:
    text = hook("readme_pages").on_page_markdown(f"see [it]({link}).", page(address))
    assert text == f"see [it]({moved})."


def test_kernels_show_their_plots_and_cards_none() -> None:
    readme_pages = hook("readme_pages")
    text = readme_pages._plots("kernels/ms_deform_attn.md")
    shown = readme_pages.on_page_markdown(text, page("kernels/ms_deform_attn.md"))
    assert "](../images/benchmark_cpu_ms_deform_attn.svg)" in shown
    assert "fused" not in shown
    assert "](../benchmarks.md)" in shown
    assert readme_pages._plots("models/tarvis_nano.md") == ""


def test_mathematics_is_drawn_by_the_browser() -> None:
    config = {"mdx_configs": {}}
    hook("mathematics").on_config(config)
    (fence,) = config["mdx_configs"]["pymdownx.superfences"]["custom_fences"]
    drawn = fence["format"](r"\frac{a}{b}", "math", "math", {}, None)
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in drawn
    assert "<script" not in drawn


def test_docstrings_are_ones_that_griffe_reads(tmp_path: Path) -> None:
    import griffe

    (tmp_path / "made.py").write_text(
        "from typing import NamedTuple\n\n\n"
        "class Pair(NamedTuple):\n"
        '    """See :func:`~a.b.made` and :class:`C`.\n\n'
        "    Args:\n        a: number.\n\n"
        '    Example:\n        >>> Pair(1).a\n        1\n    """\n\n'
        "    a: int\n"
    )
    extensions = griffe.load_extensions(hook("docstrings").Docstrings())
    module = griffe.load("made", search_paths=[tmp_path], extensions=extensions)
    docstring = module["Pair"].docstring
    assert docstring.value.startswith("See ``made`` and ``C``.")
    kinds = [section.kind.value for section in docstring.parse("google")]
    assert kinds == ["text", "attributes", "examples"]
