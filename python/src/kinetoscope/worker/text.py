"""Tokenizers: the model's own, or bytes for models without one (dummy weights)."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any, Protocol

# After the 256 bytes, as the built-in models of the native engine have them.
BYTE_BOS, BYTE_EOS = 256, 257


class Tokenizer(Protocol):
    """Text to tokens and back."""

    eos: int | None
    suppress: list[int]  # never sampled

    def encode(self, text: str) -> list[int]:
        """Cut text into tokens."""

    def stream(self) -> Stream:
        """A detokenizer for one sequence."""


class Stream(Protocol):
    """Turns tokens into text as they come."""

    def push(self, token: int) -> str:
        """The text that is certain after token."""

    def flush(self) -> str:
        """What is left at the end."""


class ByteTokenizer:
    """One token a byte. With random weights only printable ASCII is sampled."""

    def __init__(self, vocab: int, dummy: bool) -> None:
        if vocab <= BYTE_EOS:
            raise ValueError(f"vocabulary of {vocab}: without a tokenizer at least {BYTE_EOS + 1} are needed")
        self.eos: int | None = BYTE_EOS
        plain = set(range(32, 127)) if dummy else set(range(256))
        self.suppress = [i for i in range(vocab) if i not in plain and i != BYTE_EOS]

    def encode(self, text: str) -> list[int]:
        """The bytes of text."""
        return list(text.encode())

    def stream(self) -> Stream:
        """An incremental UTF-8 decoder."""
        return _Bytes()


class _Bytes:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(bytes((token,))) if token < 256 else ""

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class ModelTokenizer:
    """The tokenizer that came with the model."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.eos: int | None = inner.eos_token_id
        self.suppress: list[int] = []

    def encode(self, text: str) -> list[int]:
        """Tokens as the model was trained on them, specials included."""
        return [int(t) for t in self._inner.encode(text)]

    def stream(self) -> Stream:
        """Decodes anew from the last word border on, for pieces may join."""
        return _Pieces(self._inner)


class _Pieces:
    def __init__(self, inner: Any) -> None:
        self._inner, self._sent = inner, ""
        self._ids: list[int] = []

    def _text(self) -> str:
        return str(self._inner.decode(self._ids, skip_special_tokens=True))

    def push(self, token: int) -> str:
        self._ids.append(token)
        text = self._text()
        if text.endswith("\ufffd"):  # half a character
            return ""
        return self._advance(text)

    def flush(self) -> str:
        return self._advance(self._text())

    def _advance(self, text: str) -> str:
        new, self._sent = text[len(self._sent) :], text
        return new


def load(model: str, vocab: int, dummy: bool) -> Tokenizer:
    """The model's tokenizer if it has one."""
    path = Path(model)
    has = any((path / n).exists() for n in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    if has or (not dummy and not path.exists()):
        from transformers import AutoTokenizer

        return ModelTokenizer(AutoTokenizer.from_pretrained(model))
    return ByteTokenizer(vocab, dummy)


def settled(text: str, start: int, stops: list[str], *, last: bool) -> tuple[int, bool]:
    """How much of text may be sent, and whether a stop string is complete.

    That is all before the first stop string, or all that cannot become part of one; all of it if
    it is the last text. start is what the call before returned, 0 at first: no stop string begins
    before it, so that a long text is not searched again for every token.
    """
    found = [at for stop in stops if stop and (at := text.find(stop, start)) >= 0]
    if found:
        return min(found), True
    keep = 0 if last else max((overlap(text[start:], stop) for stop in stops), default=0)
    return len(text) - keep, False


def overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of stop that text ends with."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
