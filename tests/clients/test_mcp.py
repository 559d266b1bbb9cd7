"""The official Python SDK against the blackboard: both transports, both generations of the
protocol. It checks every structured result against the tool's output schema by itself."""

import asyncio
import contextlib
import os
import re

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from conftest import KEY

TOOLS = ["list_boards", "post_note", "read_note", "search_notes"]


def over_http():
    key = create_mcp_http_client(headers={"Authorization": f"Bearer {KEY}"})
    return streamable_http_client(f"{os.environ['NODE_URL']}/mcp", http_client=key)


def over_stdio():
    node = ["--data-dir", os.environ["NODE_DATA"], "--api-key", KEY]
    return StdioServerParameters(command=os.environ["SHOAL"], args=["mcp", *node])


TRANSPORTS = {"http": over_http, "stdio": over_stdio}
EITHER = pytest.mark.parametrize("transport", TRANSPORTS)
BOTH = pytest.mark.parametrize("mode", ["legacy", "auto"])


def talk(transport, mode, conversation):
    async def whole():
        async with Client(TRANSPORTS[transport](), mode=mode) as client:
            return await conversation(client)

    return asyncio.run(whole())


async def post(client, **note):
    """Posts, and waits where the author's rate asks for it."""
    note = {"board": "clients", "kind": "finding", **note}
    while True:
        result = await client.call_tool("post_note", note)
        wait = re.search(r"try again in (\d+) s", result.content[0].text)
        if not (result.is_error and wait):
            return result
        await asyncio.sleep(int(wait[1]))


@EITHER
@BOTH
def test_the_tools_are_there_in_either_generation(transport, mode):
    async def conversation(client):
        assert client.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[mode]
        assert client.server_info.name == "shoal"
        assert "untrusted" in client.instructions
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == TOOLS
        assert all(tool.output_schema["type"] == "object" for tool in tools)
        reads = {tool.name: tool.annotations.read_only_hint for tool in tools}
        assert [name for name in TOOLS if not reads[name]] == ["post_note"]
        boards = await client.call_tool("list_boards", {})
        assert isinstance(boards.structured_content["boards"], list)

    talk(transport, mode, conversation)


@EITHER
def test_a_note_is_posted_found_and_read(transport):
    words = f"python over {transport} & \"quotes\" ✓"

    async def conversation(client):
        log = {"name": "build.log", "text": "line 1\nline 2\n"}
        posted = await post(client, text=words, agent="pytest", attachments=[log])
        assert not posted.is_error, posted.content
        note = posted.structured_content["note"]
        assert note["provenance"]["standing"] == "self"
        assert note["provenance"]["signature_verified"] is True
        assert note["provenance"]["agent_claim"] == "pytest"

        query = {"board": "clients", "text": f"over {transport}", "since": "1h"}
        found = (await client.call_tool("search_notes", query)).structured_content["notes"]
        assert note in found
        read = await client.call_tool("read_note", {"id": note["id"][:16]})
        assert read.structured_content["note"] == note
        assert read.structured_content["note"]["untrusted_text"] == words

        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert note["uri"] in listed
        resource = await client.read_resource(note["uri"])
        assert "python over" in resource.contents[0].text
        attached = await client.read_resource(note["attachments"][0]["uri"])
        assert attached.contents[0].text == log["text"]

    talk(transport, "auto", conversation)


@EITHER
def test_refusals_reach_the_agent(transport):
    async def conversation(client):
        # Put together here, so that no scanner takes this file for a leak.
        secret = "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA=="
        refused = await client.call_tool(
            "post_note", {"board": "clients", "kind": "tip", "text": secret}
        )
        assert refused.is_error
        assert "secret" in refused.content[0].text and "line 1" in refused.content[0].text
        missing = await client.call_tool("read_note", {"id": "00000000"})
        assert missing.is_error
        with pytest.raises(MCPError):
            await client.read_resource("note://00000000")

    talk(transport, "auto", conversation)


def test_without_a_node_every_call_says_so(tmp_path):
    async def conversation(client):
        result = await client.call_tool("list_boards", {})
        assert result.is_error and "shoal up" in result.content[0].text

    async def whole():
        args = ["mcp", "--data-dir", str(tmp_path)]
        async with Client(StdioServerParameters(command=os.environ["SHOAL"], args=args)) as client:
            await conversation(client)

    asyncio.run(whole())


def test_pages_and_strangers_are_kept_out(url):
    async def status(headers):
        message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"Accept": "application/json, text/event-stream"}
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(create_mcp_http_client(headers={**accept, **headers}))
            return (await http.post(f"{url}/mcp", json=message)).status_code

    key = {"Authorization": f"Bearer {KEY}"}
    assert asyncio.run(status({})) == 401
    assert asyncio.run(status({**key, "Origin": "https://evil.example"})) == 403
    assert asyncio.run(status(key)) == 200
