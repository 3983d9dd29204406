"""pydantic-ai's agents, over both of OpenAI's APIs."""

from typing import Literal

from calls import EMBEDDER, KEY, LONG, MONTHS, QUESTION, RAG, RAW, V1, call, raises, wait_to_be_let_go
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, Embedder, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


def at(key=KEY):
    return OpenAIProvider(openai_client=AsyncOpenAI(base_url=V1, api_key=key, max_retries=0))


class Month(BaseModel):
    mjesec: Literal["siječanj", "veljača"]


@call("chat")
def chat():
    result = Agent(OpenAIChatModel(RAG, provider=at()), instructions="Budi kratak.").run_sync(QUESTION)
    assert result.output
    assert result.usage.output_tokens


@call("chat, two turns")
async def two_turns():
    agent = Agent(OpenAIChatModel(RAG, provider=at()))
    first = await agent.run(QUESTION)
    assert (await agent.run("A tko odlučuje?", message_history=first.all_messages())).output


@call("stream")
async def stream():
    agent = Agent(OpenAIChatModel(RAW, provider=at()), model_settings={"max_tokens": 32})
    async with agent.run_stream(QUESTION) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1


@call("responses")
async def responses():
    agent = Agent(OpenAIResponsesModel(RAG, provider=at()))
    assert (await agent.run(QUESTION)).output
    async with agent.run_stream(QUESTION) as result:
        assert await result.get_output()


@call("embeddings")
async def embeddings():
    made = await Embedder(OpenAIEmbeddingModel(EMBEDDER, provider=at())).embed_query(QUESTION)
    assert len(made.embeddings) == 1


@call("structured output")
async def structured():
    for model in (OpenAIChatModel(RAW, provider=at()), OpenAIResponsesModel(RAW, provider=at())):
        result = await Agent(model, output_type=NativeOutput(Month)).run(QUESTION)
        assert result.output.mjesec in MONTHS


@call("tools")
async def tools():
    for model in (OpenAIChatModel(RAW, provider=at()), OpenAIResponsesModel(RAW, provider=at())):
        result = await Agent(model, output_type=ToolOutput(Month, name="zapamti")).run(QUESTION)
        assert result.output.mjesec in MONTHS


@call("errors")
def errors():
    def asks(model, **settings):
        Agent(OpenAIChatModel(model, provider=at()), model_settings=settings).run_sync(QUESTION)

    assert raises(ModelHTTPError, lambda: asks(RAG, temperature=3), "temperature").status_code == 400
    assert raises(ModelHTTPError, lambda: asks("gpt-4o"), "gpt-4o").status_code == 404


@call("hang-up")
async def hang_up():
    settings = {"max_tokens": LONG, "extra_body": {"ignore_eos": True}}
    agent = Agent(OpenAIChatModel(RAW, provider=at()), model_settings=settings)
    async with agent.run_stream(QUESTION) as result:
        going = result.stream_text(delta=True, debounce_by=None)
        await anext(going)
        await going.aclose()


wait_to_be_let_go()
