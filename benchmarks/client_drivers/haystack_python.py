"""Haystack's components for OpenAI's API."""

import json

import openai
from calls import EMBEDDER, KEY, LONG, MONTH, MONTHS, QUESTION, RAG, RAW, V1, call, raises, wait_to_be_let_go
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret

AT = {"api_base_url": V1, "api_key": Secret.from_token(KEY), "max_retries": 0}


def asked():
    return [ChatMessage.from_system("Budi kratak."), ChatMessage.from_user(QUESTION)]


@call("chat")
def chat():
    [reply] = OpenAIChatGenerator(model=RAG, **AT).run(asked())["replies"]
    assert reply.text
    assert reply.meta["usage"]["completion_tokens"]


@call("chat, async")
async def chat_async():
    generator = OpenAIChatGenerator(model=RAW, generation_kwargs={"max_completion_tokens": 8}, **AT)
    assert (await generator.run_async(asked()))["replies"][0].text


@call("stream")
def stream():
    pieces = []
    OpenAIChatGenerator(
        model=RAW, streaming_callback=pieces.append, generation_kwargs={"max_completion_tokens": 32}, **AT
    ).run(asked())
    assert sum(bool(piece.content) for piece in pieces) > 1


@call("responses")
def responses():
    [reply] = OpenAIResponsesChatGenerator(model=RAG, **AT).run(asked())["replies"]
    assert reply.text


@call("embeddings")
def embeddings():
    vector = OpenAITextEmbedder(model=EMBEDDER, **AT).run(QUESTION)["embedding"]
    [document] = OpenAIDocumentEmbedder(model=EMBEDDER, progress_bar=False, **AT).run([Document(content="Rok.")])[
        "documents"
    ]
    assert len(document.embedding) == len(vector)


@call("structured output")
def structured():
    form = {"type": "json_schema", "json_schema": {"name": "m", "schema": MONTH, "strict": True}}
    generator = OpenAIChatGenerator(model=RAW, generation_kwargs={"response_format": form}, **AT)
    assert json.loads(generator.run(asked())["replies"][0].text)["mjesec"] in MONTHS


@call("tools")
def tools():
    remember = Tool("zapamti", "Remember a month.", MONTH, lambda mjesec: mjesec)
    generator = OpenAIChatGenerator(model=RAW, tools=[remember], generation_kwargs={"tool_choice": "required"}, **AT)
    [reply] = generator.run(asked())["replies"]
    assert reply.tool_calls[0].arguments["mjesec"] in MONTHS
    results = [ChatMessage.from_tool("zapamćeno", origin=called) for called in reply.tool_calls]
    again = OpenAIChatGenerator(model=RAW, generation_kwargs={"max_completion_tokens": 8}, **AT)
    assert again.run([*asked(), reply, *results])["replies"][0].text


@call("errors")
def errors():
    wrong = OpenAIChatGenerator(model=RAG, generation_kwargs={"temperature": 3}, **AT)
    raises(openai.BadRequestError, lambda: wrong.run(asked()), "temperature")
    raises(openai.NotFoundError, lambda: OpenAIChatGenerator(model="gpt-4o", **AT).run(asked()), "gpt-4o")


class HungUp(Exception):
    pass


@call("hang-up")
def hang_up():
    def leave(_):
        raise HungUp

    settings = {"max_completion_tokens": LONG, "extra_body": {"ignore_eos": True}}
    generator = OpenAIChatGenerator(model=RAW, streaming_callback=leave, generation_kwargs=settings, **AT)
    raises(HungUp, lambda: generator.run(asked()))
    generator.client.close()


wait_to_be_let_go()
