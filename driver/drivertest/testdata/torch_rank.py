"""A rank on real torch for the suite of driver/drivertest: it makes as many iterations as each
line of its standard input says and answers with a line, and says every beat's seconds on its own."""

import sys

import torch

import kinetoscope
from kinetoscope import attached, capture, regions

_spool, _nats, _hub_loss = sys.argv[1:]
# The suite's hub is dead for seconds, not for the half minute that programs wait.
_init = capture.SessionHandler.__init__


def _impatient(self, *args, **options):
    _init(self, *args, hub_ttl_s=float(_hub_loss), **options)


capture.SessionHandler.__init__ = _impatient
rank = attached.attach(
    "decoder", rank=0, world_size=1, nats=_nats, pipeline="suite", spool=_spool, timeout_s=120.0
)
assert kinetoscope is not None
regions.keep_past()
print("ready", flush=True)
x = torch.ones(8, 8)
for line in sys.stdin:
    if line.strip() == "die":
        import os

        os._exit(1)
    for _ in range(int(line)):
        x = torch.mm(x, x) / 8
        rank.step()
    print("done", flush=True)
rank.close()
