"""The openai package for Python: every route, streamed and whole."""

import base64
import json
import math
import struct

import jsonschema
import openai
import pytest
from conftest import SURE

HELLO = [{"role": "user", "content": "Say hello in one short sentence."}]


def test_models(client, model):
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("no/such-model")
    assert error.value.code == "model_not_found"


def test_whole_answer(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=24, temperature=0)
    choice = answer.choices[0]
    assert choice.message.content.strip()
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_equals_whole(client, model):
    ask = dict(model=model, messages=SURE, max_completion_tokens=24, temperature=0, seed=7)
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_seed_repeats(client, model):
    ask = dict(model=model, messages=HELLO, max_tokens=24, temperature=1.0, seed=-42)
    # The first one leaves the prompt in the cache, where the two that are compared both find it.
    _, first, second = (client.chat.completions.create(**ask).choices[0].message.content for _ in range(3))
    assert first == second


def test_choices(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=8, n=3, seed=1, temperature=1.2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_prefix_is_cached(client, model):
    long = [{"role": "system", "content": "You answer briefly. " * 60}, *HELLO]
    ask = dict(model=model, max_tokens=4, temperature=0)
    client.chat.completions.create(messages=long, **ask)
    again = client.chat.completions.create(messages=[*long[:1], {"role": "user", "content": "Name a colour."}], **ask)
    assert again.usage.prompt_tokens_details.cached_tokens > 200


def test_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=HELLO, max_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob)
    assert b"".join(bytes(t.bytes) for t in content).decode() == answer.choices[0].message.content


def test_stop_string_never_shows(client, model):
    ask = dict(model=model, messages=SURE, max_tokens=40, temperature=0)
    free = client.chat.completions.create(**ask).choices[0].message.content
    stop = free[len(free) // 2 : len(free) // 2 + 5]
    cut = client.chat.completions.create(**ask, stop=[stop]).choices[0]
    assert cut.message.content == free[: free.index(stop)] and cut.finish_reason == "stop"


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(4))
def test_json_schema_is_enforced(client, model, seed):
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Describe a person."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}},
        max_tokens=200,
        temperature=1.3,
        seed=seed,
    )
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_forced_tool_call(client, model, weather, choice, stream):
    ask = dict(
        model=model,
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[weather],
        tool_choice=choice,
        max_tokens=200,
        temperature=0.7,
        seed=3,
    )
    if stream:
        with client.chat.completions.stream(**ask) as events:
            for _ in events:
                pass
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(**ask)
    assert answer.choices[0].finish_reason == "tool_calls"
    call = answer.choices[0].message.tool_calls[0]
    assert call.type == "function" and call.id and call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), weather["function"]["parameters"])


def test_tool_result_goes_back(client, model, weather):
    messages = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Oslo", "unit": "celsius"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "4 degrees, rain"},
    ]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[weather], tool_choice="none", max_tokens=40)
    assert answer.choices[0].message.content


def test_completions(client, model):
    answer = client.completions.create(
        model=model, prompt=["The capital of France is", "One plus one is"], max_tokens=6, temperature=0, echo=True
    )
    assert [c.text.startswith(p) for c, p in zip(answer.choices, ("The capital", "One plus"))] == [True, True]
    scored = client.completions.create(model=model, prompt="The capital of France is Paris", max_tokens=0, echo=True, logprobs=1)
    logprobs = scored.choices[0].logprobs
    assert "".join(logprobs.tokens) == "The capital of France is Paris"
    assert logprobs.token_logprobs[0] is None and all(p < 0 for p in logprobs.token_logprobs[1:])


def test_embeddings(client, model):
    texts = ["a cat", "a text that is quite a bit longer than the other one", "x"]
    floats = client.embeddings.create(model=model, input=texts, encoding_format="float").data
    for text, row in zip(texts, floats):
        assert math.isclose(sum(v * v for v in row.embedding), 1, rel_tol=1e-4)
        alone = client.embeddings.create(model=model, input=text, encoding_format="float").data[0].embedding
        assert max(abs(a - b) for a, b in zip(alone, row.embedding)) < 1e-3
    packed = client.embeddings.with_raw_response.create(model=model, input="x", encoding_format="base64")
    raw = base64.b64decode(json.loads(packed.text)["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(floats[2].embedding, abs=1e-3)


def test_responses(client, model):
    ask = dict(model=model, input=SURE[0]["content"], max_output_tokens=24, temperature=0)
    answer = client.responses.create(**ask)
    assert answer.output_text.strip() and answer.status in ("completed", "incomplete")
    events = list(client.responses.create(**ask, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.output_text == answer.output_text


def test_errors(base, client, model):
    with pytest.raises(openai.AuthenticationError) as error:
        openai.OpenAI(base_url=base, api_key="wrong", max_retries=0).models.list()
    assert error.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="no/such-model", messages=HELLO)
    assert error.value.code == "model_not_found" and model in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "word " * 60_000}])
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=[])
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=model, messages=HELLO, temperature=3)
    assert error.value.param == "temperature"
