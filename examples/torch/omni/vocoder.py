"""A small vocoder: codec frames through transposed convolutions to samples."""

from __future__ import annotations

import torch
from torch import nn

from kinetoscope.worker.generation import Chunk
from kinetoscope.worker.options import Stage


class Vocoder(nn.Module):
    """Frames of a codebook of 1024 to 320 samples each, at 16 kHz."""

    sample_rate = 16_000

    def __init__(self, stage: Stage, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.embed = nn.Embedding(1024, 64)
        self.up = nn.Sequential(
            nn.ConvTranspose1d(64, 32, 8, stride=8),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose1d(32, 16, 8, stride=8),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose1d(16, 8, 5, stride=5),
            nn.LeakyReLU(0.1),
            nn.Conv1d(8, 1, 7, padding=3),
        )
        self.to(device).eval()

    def forward(self, chunk: Chunk) -> torch.Tensor:
        """Samples of one hand-off; the request's own count of frames is kept in its state."""
        chunk.state["frames"] = chunk.state.get("frames", 0) + len(chunk.tokens)
        if not chunk.tokens:
            return torch.zeros(0)
        codes = torch.tensor([chunk.tokens], device=self.device) % self.embed.num_embeddings
        return torch.tanh(self.up(self.embed(codes).transpose(1, 2))).flatten()
