// The openai package for Node: streams, tools, structured output, errors, cancelling.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.NODE_URL}/v1`, apiKey: "test-key", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Say hello in one short sentence." }];

test("a stream carries the same text as the whole answer", async () => {
  // At every token the model is sure by more than the noise between two runs (conftest.py).
  const sure = [{ role: "user", content: "What is the capital of Italy? Answer in one sentence." }];
  const ask = { model, messages: sure, max_tokens: 24, temperature: 0 };
  const whole = await client.chat.completions.create(ask);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
    assert.equal(chunk.object, "chat.completion.chunk");
    assert.ok(!("usage" in chunk) || chunk.usage === undefined);
    text += chunk.choices[0].delta.content ?? "";
  }
  assert.equal(text, whole.choices[0].message.content);
});

test("the streaming helper assembles a forced tool call", async () => {
  const parameters = {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  };
  const stream = client.chat.completions.stream({
    model,
    messages,
    max_tokens: 200,
    tools: [{ type: "function", function: { name: "get_weather", parameters } }],
    tool_choice: "required",
  });
  const answer = await stream.finalChatCompletion();
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
  const call = answer.choices[0].message.tool_calls[0].function;
  assert.equal(call.name, "get_weather");
  assert.equal(typeof JSON.parse(call.arguments).city, "string");
});

test("responses stream their events in order", async () => {
  const stream = client.responses.stream({ model, input: "Say hello.", max_output_tokens: 16 });
  let next = 0;
  for await (const event of stream) assert.equal(event.sequence_number, next++);
  assert.ok((await stream.finalResponse()).output_text.length > 0);
});

test("embeddings arrive whole through base64", async () => {
  const { data } = await client.embeddings.create({ model, input: ["a cat", "a dog"] });
  assert.equal(data.length, 2);
  assert.ok(Math.abs(data[0].embedding.reduce((sum, value) => sum + value * value, 0) - 1) < 1e-3);
});

test("errors have a code", async () => {
  await assert.rejects(client.chat.completions.create({ model: "no/such-model", messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
});

test("a stream can be cancelled", async () => {
  const stream = await client.chat.completions.create({ model, messages, max_tokens: 2000, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    break;
  }
  stream.controller.abort();
});
