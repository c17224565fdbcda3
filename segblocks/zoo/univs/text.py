"""Embeddings of class names and expressions, from tables or from a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from segblocks._optional import require
from segblocks.text import (
    TextEmbeddings,
    TextEncoder,
    Vocabulary,
    embed_names,
    get_templates,
    get_text_encoder,
    get_vocabulary,
)
from segblocks.zoo.univs.expressions import (
    ExpressionEncoder,
    ExpressionFeatures,
    clean_expression,
    expression_encoder,
    gather_expressions,
)

#: Rows of the official table of 3938 classes: vocabulary -> index of its first class.
OFFICIAL_ROWS = {
    "youtube_vis_2021": 2203,
    "ovis": 2243,
    "coco_panoptic": 2641,
    "ade20k": 2774,
    "vipseg": 2924,
    "vspw": 2924,
    "youtube_vis_2019": 3048,
}
OFFICIAL_CLASSES = 3938

# With their words, so that a training does not encode the same sentences again and again.
_KEPT_EXPRESSIONS = 256


class UniVSText:
    """Give classes and expressions their embeddings.

    Args:
        encoder: name of the text encoder that makes what no table holds.
        templates: sentences that class names are put into.
        dim: of all embeddings.

    Example:
        >>> text = UniVSText("hash/16", "name", 16)
        >>> text.classes(get_vocabulary("ovis")).shape
        torch.Size([25, 16])
    """

    def __init__(self, encoder: str, templates: str | Sequence[str], dim: int) -> None:
        self.encoder_name = encoder
        self.templates = templates
        self.dim = dim
        self.table: TextEmbeddings | None = None
        self.official_table: Tensor | None = None
        self._encoder: TextEncoder | None = None
        self._expressions: ExpressionEncoder | None = None
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def use_table(self, table: TextEmbeddings | Tensor) -> None:
        """Take the embeddings of classes from a table.

        Args:
            table: of class names; or the official one, (3938, dim), whose rows go by vocabulary.

        Raises:
            ValueError: another number of rows or dimensions.
        """
        if isinstance(table, TextEmbeddings):
            if table.dim != self.dim:
                raise ValueError(
                    f"UniVSText: table must have {self.dim} dimensions, got {table.dim}"
                )
            self.table = table
        elif table.shape != (OFFICIAL_CLASSES, self.dim):
            raise ValueError(
                f"UniVSText: a table without names must be ({OFFICIAL_CLASSES}, {self.dim}), the "
                f"official one, got {tuple(table.shape)}"
            )
        else:
            self.official_table = table.detach().float().cpu()

    def use_expressions(self, encoder: ExpressionEncoder) -> None:
        """Take the features of expressions from this encoder."""
        self._expressions = encoder
        self._known = {}

    def classes(self, vocabulary: Vocabulary) -> Tensor:
        """Return the embeddings (K, dim) of a vocabulary's classes, float32 on the CPU.

        Raises:
            ValueError: the text encoder makes embeddings of another size.
            ImportError: the packages of the text encoder are missing.
        """
        start = OFFICIAL_ROWS.get(vocabulary.name)
        if self.official_table is not None and start is not None:
            known = get_vocabulary(vocabulary.name)
            if set(vocabulary.classes) <= set(known.classes):
                rows = [start + known.index(name) for name in vocabulary.classes]
                return self.official_table[rows]
        if self.table is None or self.table.missing(vocabulary.classes):
            self._extend(vocabulary.classes)
        assert self.table is not None
        return self.table.rows(vocabulary.classes)

    def expressions(self, expressions: Sequence[str]) -> ExpressionFeatures:
        """Return the features of expressions, which the official code cleans first.

        Raises:
            ValueError: the text encoder makes embeddings of another size.
            ImportError: the packages of the text encoder are missing.
        """
        cleaned = [clean_expression(expression) for expression in expressions]
        new = tuple(dict.fromkeys(e for e in cleaned if e not in self._known))
        if new:
            words, sentences, known = self._encode(new)
            for n, expression in enumerate(new):
                own = words[n] if known is None else words[n][known[n]]
                self._known[expression] = own, sentences[n]
        found = [self._known[expression] for expression in cleaned]
        while len(self._known) > _KEPT_EXPRESSIONS:
            del self._known[next(iter(self._known))]
        return gather_expressions(*zip(*found, strict=True))

    def save(self, path: Path) -> None:
        """Write the table of class names, where there is one, so that no encoder is needed."""
        if self.table is not None:
            self.table.save(path)

    def load(self, path: Path) -> None:
        """Read what :meth:`save` wrote, where it did.

        Raises:
            ValueError: the file is damaged, or its vectors are of another size; names the file.
        """
        if not path.is_file():
            return
        table = TextEmbeddings.load(path)
        try:
            self.use_table(table)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _extend(self, names: Sequence[str]) -> None:
        encoder = self._load()
        if self.table is None:
            templates = resolve_templates(self.templates)
            self.table = embed_names(tuple(dict.fromkeys(names)), encoder, templates)
        else:
            self.table = self.table.extended(names, encoder)

    def _encode(self, expressions: Sequence[str]) -> ExpressionFeatures:
        if self._expressions is None:
            templates = resolve_templates(self.templates)
            self._expressions = expression_encoder(self._load(), templates)
        return self._expressions(expressions)

    def _load(self) -> TextEncoder:
        if self._encoder is None:
            encoder = get_text_encoder(self.encoder_name)
            if encoder.dim != self.dim:
                raise ValueError(
                    f"UniVSText: text_encoder must make {self.dim} dimensions, as text_dim says, "
                    f"got {encoder.dim} from {self.encoder_name!r}"
                )
            self._encoder = encoder
        return self._encoder


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Return sentences with a place ``{}`` for a name.

    Args:
        templates: "openai" for the name alone and CLIP's 80 for ImageNet, which open_clip holds;
            else as for :func:`~segblocks.text.get_templates`.

    Raises:
        ImportError: open_clip is missing.
        ValueError: an unknown name.
    """
    if templates != "openai":
        return get_templates(templates)
    open_clip = require("open_clip", "text")
    return ("{}.", *(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES))
