"""`kinetoscope mcp` as a client of the Model Context Protocol's own library uses it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")
if int(importlib.metadata.version("mcp").split(".")[0]) < 2:
    pytest.skip("mcp 1 has other names", allow_module_level=True)

import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "analysis" / "testdata"
TRACE = "torch_cpu.json.gz"
PAGE = 4096  # bytes of an answer's text at the most
LONGEST = 64 << 10  # bytes of an answer, some times what one is cut to


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not shutil.which("go") or not (TRACES / TRACE).exists():
        pytest.skip("needs Go and the repository")
    path = tmp_path_factory.mktemp("bin") / "kinetoscope"
    subprocess.run(["go", "build", "-o", path, "./cmd/kinetoscope"], cwd=ROOT, check=True)
    return str(path)


async def answered(session: Any, tool: str, **given: Any) -> tuple[str, str]:
    """The text of a whole answer, page by page, and its first page."""
    answer = await session.call_tool(tool, given)
    text = "".join(c.text for c in answer.content)
    assert not answer.is_error, text
    pages = [answer.structured_content]
    while pages[-1].get("next"):
        pages.append((await session.call_tool("more", {"cursor": pages[-1]["next"]})).structured_content)
    assert all(len(p["text"].encode()) <= PAGE for p in pages)
    return "".join(p["text"] for p in pages), text


async def looked_up(session: Any) -> None:
    """Follows a number to the slices behind it."""
    found, _ = await answered(session, "search", path=TRACE, name="^aten::randn$")
    calls, _, first, longest = found.splitlines()[2].split()[:4]
    around, _ = await answered(session, "slices", path=TRACE, id=int(longest))
    assert "aten::randn" in around
    assert int(calls) > 0
    assert int(first) >= 0
    findings, _ = await answered(session, "findings", paths=[TRACE])
    for line in findings.splitlines():
        if " id " not in line:
            continue
        at = re.search(r"path (\S+) id (\d+)", line)
        assert at, line
        assert (await answered(session, "slices", path=at.group(1), id=int(at.group(2))))[0]
    everything, first_page = await answered(session, "slices", path=TRACE, limit=200)
    assert len(everything) > PAGE
    assert "call more" in first_page


async def asked(session: Any) -> None:
    """Asks what an agent would, and what it must not."""
    await session.initialize()
    tools = {t.name: t for t in (await session.list_tools()).tools}
    wanted = {
        "report",
        "findings",
        "ops",
        "steps",
        "diff",
        "critical_path",
        "slices",
        "search",
        "sql",
        "more",
    }
    assert wanted <= set(tools), set(tools)
    assert not {"capture", "start", "stop"} & set(tools), "nobody allowed captures"
    for name in ("report", "ops"):
        answer = await session.call_tool(name, {"paths": [TRACE]})
        text = "".join(c.text for c in answer.content)
        assert not answer.is_error, text
        assert 0 < len(text) < LONGEST
        if name == "ops":
            assert "Operators" in text
            assert "277 slices" in text
    await looked_up(session)
    refused = await session.call_tool("ops", {"paths": ["../../../etc/passwd"]})
    assert refused.is_error, refused.content


def test_stdio(program: str) -> None:
    async def main() -> None:
        server = StdioServerParameters(command=program, args=["mcp", "--root", str(TRACES)])
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await asked(session)

    asyncio.run(asyncio.wait_for(main(), 120))


def test_http(program: str) -> None:
    command = [program, "mcp", "--root", str(TRACES), "--http", "127.0.0.1:0"]
    token = secrets.token_hex(16)
    env = {**os.environ, "KINETOSCOPE_MCP_TOKEN": token}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as server:
        try:
            assert server.stderr
            said = server.stderr.readline()
            at = re.search(r"http://\S+", said)
            assert at, said
            url = at.group(0)

            async def main() -> None:
                async with (
                    httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
                    streamable_http_client(url, http_client=http) as streams,
                    ClientSession(streams[0], streams[1]) as session,
                ):
                    await asked(session)

            asyncio.run(asyncio.wait_for(main(), 120))
        finally:
            server.terminate()
