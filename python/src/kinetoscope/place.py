"""Who serves a rank's place: one process does, and whoever wants it asks that one first."""

from __future__ import annotations

import datetime
import re

import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from kinetoscope import protocol as p

# Bounds the question to the process that holds a place: one that does not answer is frozen or
# cut off, and its place is free.
_ANSWER_TIMEOUT_S = 2.0


class TakenError(RuntimeError):
    """A rank's place is served by another process that answers, or that has taken it since."""

    def __init__(self, by: p.RankInfo) -> None:
        self.by = by
        super().__init__(
            f"{by.text()} is served by process {by.pid} on host {by.host}: end that one first, "
            "or join as another rank"
        )


async def holder(kv: KeyValue, id: p.RankID) -> p.RankInfo | None:
    """Who announces itself as a rank."""
    try:
        info = p.RankInfo.from_json((await kv.get(id.key())).value or b"")
    except (NotFoundError, ValueError):
        return None
    return info if info.id() == id else None


async def check_free(nc: Client, kv: KeyValue, id: p.RankID, own: str = "") -> None:
    """Raise TakenError if another process than the incarnation own serves the place and answers."""
    info = await holder(kv, id)
    if info is None or info.incarnation == own:
        return
    headers = {p.HEADER_INCARNATION: info.incarnation}
    try:
        await nc.request(id.subject("status"), b"{}", _ANSWER_TIMEOUT_S, headers=headers)
    except nats.errors.Error:
        return  # it is not there, or does not answer
    raise TakenError(info)


def started(info: p.RankInfo) -> datetime.datetime:
    """When a process started; Go writes nanoseconds and Z."""
    m = re.match(r"(.*?\d{2}:\d{2}:\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})\Z", info.started_at)
    if m is None:
        return datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
    fraction = (m[2] or ".0")[:7].ljust(7, "0")
    return datetime.datetime.fromisoformat(m[1] + fraction + m[3].replace("Z", "+00:00"))
