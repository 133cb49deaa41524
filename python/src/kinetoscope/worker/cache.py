"""The key-value cache of a running batch, for transformers models.

Rows lie right-aligned in common tensors, padded on the left, so that a decode step is one
forward of the whole batch, whoever came and went between steps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


def layers_of(cache: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer, [batch, heads, positions, size]."""
    if hasattr(cache, "layers"):
        return [(layer.keys, layer.values) for layer in cache.layers]
    return list(zip(cache.key_cache, cache.value_cache, strict=True))  # before transformers 4.56


def _cache(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    for i, (k, v) in enumerate(layers):
        cache.update(k, v, i)
    return cache


class Rows:
    """The cache of all running sequences. Not safe for concurrent use."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.lens: list[int] = []
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _width(self) -> int:
        return int(self._layers[0][0].shape[2]) if self._layers else 0

    def add(self, seq: int, cache: Any) -> None:
        """Take the cache of one sequence, as its prefill left it."""
        new = layers_of(cache)
        length = int(new[0][0].shape[2])
        if not self.ids:
            self._layers = new
        else:
            width = max(self._width(), length)
            self._layers = [
                (torch.cat([_pad(k, width), _pad(nk, width)]), torch.cat([_pad(v, width), _pad(nv, width)]))
                for (k, v), (nk, nv) in zip(self._layers, new, strict=True)
            ]
        self.ids.append(seq)
        self.lens.append(length)

    def drop(self, seqs: set[int]) -> None:
        """Forget sequences and the padding that only they needed."""
        keep = [i for i, s in enumerate(self.ids) if s not in seqs]
        if len(keep) == len(self.ids):
            return
        self.ids = [self.ids[i] for i in keep]
        self.lens = [self.lens[i] for i in keep]
        if not keep:
            self._layers = []
            return
        width = max(self.lens)
        at = torch.tensor(keep, device=self._layers[0][0].device)
        self._layers = [(k[at, :, -width:], v[at, :, -width:]) for k, v in self._layers]

    def batch(self, seqs: list[int]) -> tuple[Any, torch.Tensor, torch.Tensor, list[int]]:
        """Cache, attention mask and positions for one more token of each of seqs, and their rows."""
        rows = [self.ids.index(s) for s in seqs]
        layers = self._layers
        device = layers[0][0].device
        if rows != list(range(len(self.ids))):
            at = torch.tensor(rows, device=device)
            layers = [(k[at], v[at]) for k, v in layers]
        lens = torch.tensor([self.lens[r] for r in rows], device=device)
        width = self._width()
        mask = torch.arange(width + 1, device=device)[None, :] >= (width - lens)[:, None]
        return _cache(layers), mask.long(), lens[:, None], rows

    def extend(self, cache: Any, rows: list[int]) -> None:
        """Take back what a forward has made longer by one."""
        new = layers_of(cache)
        if len(rows) == len(self.ids) and rows == list(range(len(self.ids))):
            self._layers = new
        else:
            at = torch.tensor(rows, device=new[0][0].device)
            self._layers = [
                (_pad(k, k.shape[2] + 1).index_copy(0, at, nk), _pad(v, v.shape[2] + 1).index_copy(0, at, nv))
                for (k, v), (nk, nv) in zip(self._layers, new, strict=True)
            ]
        for r in rows:
            self.lens[r] += 1
        width = max(self.lens)
        if width < self._width():
            self._layers = [(k[:, :, -width:], v[:, :, -width:]) for k, v in self._layers]


def _pad(t: torch.Tensor, width: int) -> torch.Tensor:
    return F.pad(t, (0, 0, width - t.shape[2], 0))
