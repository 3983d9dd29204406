"""LiteLLM, which calls the service as OpenAI's and as Cohere's."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it asks for prices on the network

import litellm
from calls import (
    DOCUMENTS,
    EMBEDDER,
    KEY,
    LONG,
    MONTH,
    MONTHS,
    QUESTION,
    RAG,
    RAW,
    RERANKER,
    URL,
    V1,
    call,
    raises,
    wait_to_be_let_go,
)  # fmt: skip

AT = {"api_base": V1, "api_key": KEY, "num_retries": 0}
ASKED = [{"role": "user", "content": QUESTION}]
TOOL = {"type": "function", "function": {"name": "zapamti", "description": "Remember a month.", "parameters": MONTH}}


@call("chat")
def chat():
    answer = litellm.completion(model=f"openai/{RAG}", messages=ASKED, max_tokens=32, **AT)
    assert answer.choices[0].message.content


@call("chat, async")
async def chat_async():
    answer = await litellm.acompletion(model=f"openai/{RAW}", messages=ASKED, max_tokens=8, **AT)
    assert answer.usage.completion_tokens == 8


@call("stream")
def stream():
    asked = {"model": f"openai/{RAW}", "messages": ASKED, "max_tokens": 32, "stream": True}
    pieces = [piece.choices[0].delta.content for piece in litellm.completion(**asked, **AT) if piece.choices]
    assert sum(map(bool, pieces)) > 1


@call("responses")
def responses():
    answer = litellm.responses(model=f"openai/{RAG}", input=QUESTION, max_output_tokens=32, **AT)
    assert answer.output[0].content[0].text


@call("completions")
def completions():
    answer = litellm.text_completion(model=f"text-completion-openai/{RAW}", prompt="Rok je", max_tokens=8, **AT)
    assert answer.choices[0].text


@call("embeddings")
def embeddings():
    made = litellm.embedding(model=f"openai/{EMBEDDER}", input=["Rok je 15 dana.", QUESTION], **AT)
    assert len(made.data) == 2


@call("rerank")
def rerank():
    asked = {"query": QUESTION, "documents": DOCUMENTS, "top_n": 2, "api_base": URL, "api_key": KEY}
    ranked = litellm.rerank(model=f"cohere/{RERANKER}", return_documents=True, **asked).results
    assert ranked[0]["document"]["text"] in DOCUMENTS
    assert ranked[0]["relevance_score"] >= ranked[1]["relevance_score"]


@call("structured output")
def structured():
    form = {"type": "json_schema", "json_schema": {"name": "m", "schema": MONTH, "strict": True}}
    answer = litellm.completion(model=f"openai/{RAW}", messages=ASKED, response_format=form, **AT)
    assert json.loads(answer.choices[0].message.content)["mjesec"] in MONTHS


@call("tools")
def tools():
    answer = litellm.completion(model=f"openai/{RAW}", messages=ASKED, tools=[TOOL], tool_choice="required", **AT)
    [called, *_] = answer.choices[0].message.tool_calls
    assert json.loads(called.function.arguments)["mjesec"] in MONTHS


@call("errors")
def errors():
    wrong = {"model": f"openai/{RAG}", "messages": ASKED, **AT}
    raises(litellm.BadRequestError, lambda: litellm.completion(temperature=3, **wrong), "temperature")
    raises(litellm.AuthenticationError, lambda: litellm.completion(**wrong | {"api_key": "wrong"}))
    raises(litellm.NotFoundError, lambda: litellm.completion(**wrong | {"model": "openai/gpt-4o"}), "gpt-4o")


@call("hang-up")
async def hang_up():
    going = await litellm.acompletion(
        model=f"openai/{RAW}", messages=ASKED, max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}, **AT
    )
    for _ in range(3):
        await anext(going)
    await going.completion_stream.close()


wait_to_be_let_go()
