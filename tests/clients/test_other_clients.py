"""LiteLLM, langchain-openai and `llm`: what each of them asks of an OpenAI-compatible server."""

import os
import pathlib
import subprocess
import sys

import litellm
import pytest
from conftest import KEY, SURE
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

def test_litellm(base, model):
    ask = dict(model=f"openai/{model}", api_base=base, api_key=KEY, messages=SURE, max_tokens=16, temperature=0)
    whole = litellm.completion(**ask)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**ask, stream=True))
    assert whole.choices[0].message.content == text and text.strip()
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**ask, "model": "openai/no/such-model"}, num_retries=0)


def test_langchain_chat(base, model):
    chat = ChatOpenAI(base_url=base, api_key=KEY, model=model, temperature=0, max_tokens=16, max_retries=0)
    whole = chat.invoke(SURE)
    assert whole.content.strip() and whole.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.content for chunk in chat.stream(SURE)) == whole.content


def test_langchain_tools(base, model, weather):
    chat = ChatOpenAI(base_url=base, api_key=KEY, model=model, temperature=0, max_tokens=200, max_retries=0)
    answer = chat.bind_tools([weather], tool_choice="get_weather").invoke("Weather in Oslo?")
    assert answer.tool_calls[0]["name"] == "get_weather" and answer.tool_calls[0]["args"]["city"]


def test_langchain_structured(base, model):
    chat = ChatOpenAI(base_url=base, api_key=KEY, model=model, temperature=0, max_tokens=200, max_retries=0)
    schema = {
        "title": "person",
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 150}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    person = chat.with_structured_output(schema, method="json_schema").invoke("Describe a person.")
    assert isinstance(person["name"], str) and isinstance(person["age"], int)


def test_langchain_embeddings(base, model):
    rows = OpenAIEmbeddings(
        base_url=base, api_key=KEY, model=model, check_embedding_ctx_length=False, max_retries=0
    ).embed_documents(["a cat", "a dog"])
    assert len(rows) == 2 and len(rows[0]) == len(rows[1]) > 0


def test_llm_command(base, model):
    folder = pathlib.Path(os.environ["LLM_USER_PATH"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "extra-openai-models.yaml").write_text(
        f"- model_id: shoal\n  model_name: {model!r}\n  api_base: {base}\n  api_key_name: shoal\n"
    )
    llm = [str(pathlib.Path(sys.executable).with_name("llm"))]
    ask = [*llm, "-m", "shoal", "--key", KEY, "-o", "max_tokens", "16", "-o", "temperature", "0"]
    ask.append(SURE[0]["content"])
    streamed = subprocess.run(ask, check=True, capture_output=True, text=True, timeout=120).stdout
    whole = subprocess.run([*ask, "--no-stream"], check=True, capture_output=True, text=True, timeout=120).stdout
    assert streamed.strip() and streamed == whole
