from __future__ import annotations

import random
import struct

import pytest
import torch

from kinetoscope import wire


def test_round_trip() -> None:
    t = torch.randn(2, 3)
    m = wire.Message({"kind": "handoff", "id": "a", "tokens": [1, 2]}, [t, torch.empty(0)], [b"x", b""])
    got = wire.decode(m.encode())
    assert got.head == m.head
    assert torch.equal(got.tensors[0], t.flatten())
    assert got.tensors[1].numel() == 0
    assert got.blobs == [b"x", b""]


def test_layout_is_the_documented_one() -> None:
    data = wire.encode_frame({"a": 1}, [torch.tensor([1.5])], [b"zz"])
    want = struct.pack("<IHHII", 7, 1, 1, 1, 2) + b'{"a":1}' + struct.pack("<f", 1.5) + b"zz"
    assert data == want


def test_every_cut_is_refused() -> None:
    data = wire.encode_frame({"kind": "x"}, [torch.ones(3)], [b"abc"])
    for n in range(len(data)):
        with pytest.raises(wire.FrameError):
            wire.decode(data[:n])


def test_random_bytes_never_do_worse_than_an_error() -> None:
    rng = random.Random(1)
    good = wire.encode_frame({"kind": "x"}, [torch.ones(3)], [b"abc"])
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            wire.decode(bytes(data))
        except wire.FrameError:
            continue


def test_too_large_is_refused_with_advice() -> None:
    with pytest.raises(wire.FrameError, match="handoff_chunk"):
        wire.Message({"kind": "output", "id": "a"}, [], [b"x" * (9 << 20)]).encode()


def test_flows_are_those_of_go() -> None:
    # omni/wire.Flow of the same values.
    assert wire.flow("a", 0, 1, 0) == 2336519880618907
    assert wire.flow("01J", 1, 2, 299) == 5225620299542239
