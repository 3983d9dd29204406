"""LlamaIndex's packages for services like OpenAI's."""

import gc
from typing import Literal

import openai
from calls import EMBEDDER, KEY, LONG, MONTHS, QUESTION, RAG, RAW, V1, call, raises, wait_to_be_let_go
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


def at(model, **fields):
    return OpenAILike(model=model, api_base=V1, api_key=KEY, is_chat_model=True, max_retries=0, **fields)


def asked():
    return [ChatMessage("Budi kratak.", role="system"), ChatMessage(QUESTION)]


class Month(BaseModel):
    mjesec: Literal["siječanj", "veljača"]


@call("chat")
def chat():
    assert at(RAG).chat(asked()).message.content


@call("chat, async")
async def chat_async():
    assert (await at(RAW, max_tokens=8).achat(asked())).message.content


@call("stream")
def stream():
    assert sum(bool(piece.delta) for piece in at(RAW, max_tokens=32).stream_chat(asked())) > 1


@call("completions")
def completions():
    model = OpenAILike(model=RAW, api_base=V1, api_key=KEY, is_chat_model=False, max_tokens=8, max_retries=0)
    assert model.complete("Rok za žalbu je").text


@call("embeddings")
def embeddings():
    embedder = OpenAILikeEmbedding(model_name=EMBEDDER, api_base=V1, api_key=KEY, max_retries=0)
    texts = embedder.get_text_embedding_batch(["Rok je 15 dana.", "Pristojba se plaća."])
    assert [len(each) for each in texts] == [len(embedder.get_query_embedding(QUESTION))] * 2


@call("structured output")
def structured():
    model = at(RAW, is_function_calling_model=True, should_use_structured_outputs=True)
    assert model.structured_predict(Month, PromptTemplate(QUESTION)).mjesec in MONTHS


@call("tools")
def tools():
    def zapamti(mjesec: Literal["siječanj", "veljača"]) -> str:
        """Remember a month."""
        return mjesec

    model = at(RAW, is_function_calling_model=True)
    answer = model.chat_with_tools([FunctionTool.from_defaults(zapamti)], QUESTION, tool_required=True)
    [called, *_] = model.get_tool_calls_from_response(answer)
    assert called.tool_kwargs["mjesec"] in MONTHS


@call("errors")
def errors():
    wrong = at(RAG, additional_kwargs={"top_p": 2})
    raises(openai.BadRequestError, lambda: wrong.chat(asked()), "top_p")
    raises(openai.NotFoundError, lambda: at("gpt-4o").chat(asked()), "gpt-4o")


@call("hang-up")
def hang_up():
    going = at(RAW, max_tokens=LONG, additional_kwargs={"extra_body": {"ignore_eos": True}}).stream_chat(asked())
    for _, _ in zip(range(3), going, strict=False):
        pass
    going.close()
    # What it wraps, and so the connection, hangs on an exception's traceback until Python collects that
    # (llama_index/core/llms/callbacks.py, wrapped_gen). A program at work collects by itself.
    gc.collect()


wait_to_be_let_go()
