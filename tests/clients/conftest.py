"""The node under test: its address comes from `run`."""

import os

import openai
import pytest

KEY = "test-key"

# Where two answers are compared word for word: at every token of this one the model is sure by
# more than the noise between a prompt computed whole and one computed on a cached prefix.
SURE = [{"role": "user", "content": "What is the capital of Italy? Answer in one sentence."}]


@pytest.fixture(scope="session")
def url():
    return os.environ["NODE_URL"]


@pytest.fixture(scope="session")
def base(url):
    return f"{url}/v1"


@pytest.fixture(scope="session")
def client(base):
    return openai.OpenAI(base_url=base, api_key=KEY, max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def model(client):
    return client.models.list().data[0].id


@pytest.fixture(scope="session")
def weather():
    return {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city now",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    }
