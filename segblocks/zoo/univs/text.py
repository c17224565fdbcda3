"""Embeddings of class names and expressions, from tables or from a text encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
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

_DROPPED = re.compile(r"[0-9().,'!?\"*#:;]")
_SPACED = re.compile(r"[_/\-\s]+")


class ExpressionFeatures(NamedTuple):
    """What an encoder says of E expressions: of each word (E, W, d), and of the whole (E, d)."""

    words: Tensor
    sentences: Tensor


class ExpressionEncoder(Protocol):
    """Turn expressions into features of their words and of the whole."""

    def __call__(self, expressions: Sequence[str]) -> ExpressionFeatures: ...


class WordsOneByOne:
    """Make features of expressions with an encoder of sentences, which sees each word alone.

    Args:
        encoder: of sentences.

    Example:
        >>> from segblocks.text import HashEncoder
        >>> words, sentences = WordsOneByOne(HashEncoder(8))(["the red star", "a dog"])
        >>> words.shape, sentences.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 8]))
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def __call__(self, expressions: Sequence[str]) -> ExpressionFeatures:
        """Encode E expressions; the words of short ones are repeated in turn."""
        split = [expression.split() for expression in expressions]
        most = max(map(len, split))
        even = [words[n % len(words)] for words in split for n in range(most)]
        return ExpressionFeatures(
            self.encoder(even).unflatten(0, (len(split), most)), self.encoder(expressions)
        )


class CLIPExpressions:
    """Make features of expressions with the text part of CLIP, as the official code does.

    The words are all positions of the first template, what follows the end of the sentence
    included; the whole is the mean of the sentences' ends over all templates. None is normalised.

    Args:
        model: of open_clip.
        tokenizer: of open_clip, with ``encode``.
        templates: sentences with a place for the expression.
    """

    def __init__(self, model: Any, tokenizer: Any, templates: Sequence[str]) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._templates = tuple(templates)

    @torch.no_grad()
    def __call__(self, expressions: Sequence[str]) -> ExpressionFeatures:
        """Encode E expressions."""
        encoded = [self._encode([t.replace("{}", e) for t in self._templates]) for e in expressions]
        words = torch.stack([tokens[0] for tokens, _ in encoded])
        return ExpressionFeatures(words, torch.stack([ends.mean(dim=0) for _, ends in encoded]))

    def tokens(self, sentence: str) -> list[int]:
        """Tokenize; a sentence that is too long is cut, and then has no end (as official)."""
        tokenizer, length = self._tokenizer, self._model.positional_embedding.shape[0]
        ids = [tokenizer.sot_token_id, *tokenizer.encode(sentence), tokenizer.eot_token_id]
        return (ids + [0] * length)[:length]

    def _encode(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """All positions (N, L, d), and those of the sentences' ends (N, d)."""
        model = self._model
        ids = torch.tensor([self.tokens(sentence) for sentence in sentences])
        x = model.token_embedding(ids) + model.positional_embedding
        x = model.transformer(x, attn_mask=model.attn_mask)
        tokens = (model.ln_final(x) @ model.text_projection).float()
        return tokens, tokens[torch.arange(len(ids)), ids.argmax(dim=-1)]


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
        self._known: dict[str, ExpressionFeatures] = {}

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
        cleaned = tuple(clean_expression(expression) for expression in expressions)
        key = "\n".join(cleaned)
        if key not in self._known:
            if self._expressions is None:
                self._expressions = self._load_expressions()
            self._known = {key: self._expressions(cleaned)}  # those of the video at hand
        return self._known[key]

    def save(self, path: Path) -> None:
        """Write the table of class names, where there is one, so that no encoder is needed."""
        if self.table is not None:
            self.table.save(path)

    def load(self, path: Path) -> None:
        """Read what :meth:`save` wrote, where it did."""
        if path.is_file():
            self.use_table(TextEmbeddings.load(path))

    def _extend(self, names: Sequence[str]) -> None:
        encoder = self._load()
        if self.table is None:
            templates = resolve_templates(self.templates)
            self.table = embed_names(tuple(dict.fromkeys(names)), encoder, templates)
        else:
            self.table = self.table.extended(names, encoder)

    def _load_expressions(self) -> ExpressionEncoder:
        kind, _, rest = self.encoder_name.partition("/")
        model, _, weights = rest.partition("/")
        if kind != "open_clip":
            return WordsOneByOne(self._load())
        open_clip = require("open_clip", "text")
        loaded = open_clip.create_model(model, pretrained=weights)
        loaded.visual = None  # the larger part, and not needed
        templates = resolve_templates(self.templates)
        return CLIPExpressions(loaded, open_clip.get_tokenizer(model), templates)

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


def clean_expression(expression: str) -> str:
    """Bring an expression to the form that UniVS was trained with.

    Small letters, without digits and punctuation.

    Example:
        >>> clean_expression("The man in a T-shirt (2nd from the left).")
        'the man in a t shirt nd from the left'
    """
    plain = _SPACED.sub(" ", _DROPPED.sub("", expression.lower())).strip()
    return plain or expression
