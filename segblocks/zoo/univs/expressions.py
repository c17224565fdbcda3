"""From expressions to features of their words and of the whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segblocks.text import TextEncoder
from segblocks.text.clip import CLIPEncoder

_DROPPED = re.compile(r"[0-9().,'!?\"*#:;]")
_SPACED = re.compile(r"[_/\-\s]+")


class ExpressionFeatures(NamedTuple):
    """What an encoder says of E expressions.

    Args:
        words: (E, W, d).
        sentences: of the whole, (E, d).
        known: (E, W) bool, the words that an expression has; None where all have W.
    """

    words: Tensor
    sentences: Tensor
    known: Tensor | None = None


class ExpressionEncoder(Protocol):
    """Turn expressions into features of their words and of the whole."""

    def __call__(self, expressions: Sequence[str]) -> ExpressionFeatures: ...


class WordsOneByOne:
    """Make features of expressions with an encoder of sentences, which sees each word alone.

    Args:
        encoder: of sentences.

    Example:
        >>> from segblocks.text import HashEncoder
        >>> words, sentences, known = WordsOneByOne(HashEncoder(8))(["the red star", "a dog"])
        >>> words.shape, sentences.shape, known.tolist()[1]
        (torch.Size([2, 3, 8]), torch.Size([2, 8]), [True, True, False])
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def __call__(self, expressions: Sequence[str]) -> ExpressionFeatures:
        """Encode E expressions."""
        split = [expression.split() for expression in expressions]
        encoded = self.encoder([word for words in split for word in words])
        words = encoded.split([len(words) for words in split])
        return gather_expressions(words, self.encoder(expressions).unbind())


class WordsInContext:
    """Make features of expressions with an encoder that sees each word in its sentence.

    Args:
        encoder: of sentences.
        words: of the same encoder: N sentences -> (N, W, d) and the words that each has, (N, W).
    """

    def __init__(
        self, encoder: TextEncoder, words: Callable[[Sequence[str]], tuple[Tensor, Tensor]]
    ) -> None:
        self.encoder = encoder
        self.words = words

    def __call__(self, expressions: Sequence[str]) -> ExpressionFeatures:
        """Encode E expressions."""
        words, known = self.words(expressions)
        return ExpressionFeatures(words, self.encoder(expressions), known)


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


def expression_encoder(encoder: TextEncoder, templates: Sequence[str]) -> ExpressionEncoder:
    """Return what makes features of expressions with a text encoder.

    Args:
        encoder: of sentences; that of CLIP and one with ``words``, such as MiniLM, see each word in
            its sentence.
        templates: for CLIP.
    """
    if isinstance(encoder, CLIPEncoder):
        return CLIPExpressions(encoder.model, encoder.tokenizer, templates)
    words = getattr(encoder, "words", None)
    return WordsOneByOne(encoder) if words is None else WordsInContext(encoder, words)


def gather_expressions(words: Sequence[Tensor], sentences: Sequence[Tensor]) -> ExpressionFeatures:
    """Put together what is known of single expressions.

    Args:
        words: (W_e, d) of each.
        sentences: (d,) of each.

    Returns:
        ``known`` is None where all have the same number of words.
    """
    lengths = [len(own) for own in words]
    known = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ExpressionFeatures(
        pad_sequence(list(words), batch_first=True),
        torch.stack(list(sentences)),
        None if min(lengths) == max(lengths) else known,
    )


def clean_expression(expression: str) -> str:
    """Bring an expression to the form that UniVS was trained with.

    Small letters, without digits and punctuation.

    Example:
        >>> clean_expression("The man in a T-shirt (4 from the left).")
        'the man in a t shirt from the left'
    """
    plain = _SPACED.sub(" ", _DROPPED.sub("", expression.lower())).strip()
    return plain or expression
