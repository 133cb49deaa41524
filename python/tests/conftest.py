from __future__ import annotations

import pytest
import torch

from kinetoscope.profiler import warm_up


@pytest.fixture(scope="session", autouse=True)
def _kineto() -> None:
    torch.set_num_threads(1)
    warm_up()
