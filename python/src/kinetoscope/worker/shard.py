"""Tensor parallelism for decoder models: each rank keeps its part of every block's linears.

Attention's and the MLP's first linears are cut by output, their last ones by input, whose
partial sums an all-reduce adds up: two collectives a block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kinetoscope.worker.group import Group

# Names of the linears in transformers' decoder blocks (Llama, Qwen, Mistral, Gemma …).
COLUMN = frozenset({"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"})
ROW = frozenset({"o_proj", "down_proj"})


class RowLinear(nn.Module):
    """A linear whose input is cut over the ranks."""

    def __init__(self, full: nn.Linear, group: Group) -> None:
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(_part(full.weight, group, 1), requires_grad=False)
        self.bias = full.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply the own part and add up over the ranks."""
        y = self.group.sum(nn.functional.linear(x, self.weight))
        return y if self.bias is None else y + self.bias


def _part(t: torch.Tensor, group: Group, dim: int) -> torch.Tensor:
    if t.shape[dim] % group.size:
        raise ValueError(f"{t.shape[dim]} rows or columns cannot be cut into {group.size} parts")
    return t.detach().chunk(group.size, dim)[group.rank].clone()


def shard(model: nn.Module, config: Any, group: Group) -> int:
    """Cut model's linears in place; returns how many were. An unknown architecture is an error."""
    if group.size == 1:
        return 0
    for name in ("num_attention_heads", "num_key_value_heads"):
        n = getattr(config, name, None)
        if n is not None and n % group.size:
            raise ValueError(f"{name} = {n} cannot be cut over {group.size} ranks")
    rows = columns = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, nn.Linear):
                continue
            if name in COLUMN:
                child.weight = nn.Parameter(_part(child.weight, group, 0), requires_grad=False)
                if child.bias is not None:
                    child.bias = nn.Parameter(_part(child.bias, group, 0), requires_grad=False)
                child.out_features //= group.size
                columns += 1
            elif name in ROW:
                setattr(module, name, RowLinear(child, group))
                rows += 1
    if not rows or not columns:
        known = ", ".join(sorted(COLUMN | ROW))
        raise ValueError(
            f"{type(model).__name__} has none of the linears {known}: run it with tensor_parallel_size 1"
        )
    return rows + columns
