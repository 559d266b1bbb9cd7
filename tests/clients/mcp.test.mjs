// The official TypeScript SDKs against the blackboard: the one of the 2025 protocol and the one of
// 2026-07-28, over stdio and over HTTP. They check structured results against the output schemas.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client as Client2, StreamableHTTPClientTransport as Http2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as Http1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { NODE_URL, NODE_DATA, SHOAL } = process.env;
const key = "test-key";
const server = { command: SHOAL, args: ["mcp", "--data-dir", NODE_DATA, "--api-key", key] };
const address = new URL(`${NODE_URL}/mcp`);
const options = { requestInit: { headers: { Authorization: `Bearer ${key}` } } };
const info = { name: "node-test", version: "1" };
const modern = { versionNegotiation: { mode: { pin: "2026-07-28" } } };

const ways = [
  ["sdk over stdio", () => new Client1(info), () => new Stdio1(server)],
  ["sdk over HTTP", () => new Client1(info), () => new Http1(address, options)],
  ["client over stdio", () => new Client2(info, modern), () => new Stdio2(server)],
  ["client over HTTP", () => new Client2(info, modern), () => new Http2(address, options)],
];

// Posts, and waits where the author's rate asks for it.
async function post(client, note) {
  for (;;) {
    const result = await client.callTool({ name: "post_note", arguments: note });
    const wait = result.isError && /try again in (\d+) s/.exec(result.content[0].text);
    if (!wait) return result;
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait[1]));
  }
}

for (const [name, client, transport] of ways) {
  test(`${name}: a note is posted, found and read`, async () => {
    const agent = client();
    await agent.connect(transport());
    try {
      const { tools } = await agent.listTools();
      assert.deepEqual(tools.map((tool) => tool.name), ["list_boards", "post_note", "read_note", "search_notes"]);
      const text = `typescript: ${name}`;
      const posted = await post(agent, { board: "clients", kind: "tip", text });
      assert.ok(!posted.isError, JSON.stringify(posted.content));
      const { note } = posted.structuredContent;
      assert.equal(note.provenance.standing, "self");
      const query = { board: "clients", text: `"${text}"` };
      const found = await agent.callTool({ name: "search_notes", arguments: query });
      assert.deepEqual(found.structuredContent.notes[0], note);
      const resource = await agent.readResource({ uri: note.uri });
      assert.equal(JSON.parse(resource.contents[0].text).note.untrusted_text, text);
      const missing = await agent.callTool({ name: "read_note", arguments: { id: "00000000" } });
      assert.equal(missing.isError, true);
    } finally {
      await agent.close();
    }
  });
}
