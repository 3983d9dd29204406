"""LangChain's package for OpenAI's API."""

import openai
from calls import EMBEDDER, KEY, LONG, MONTH, MONTHS, QUESTION, RAG, RAW, V1, call, raises, wait_to_be_let_go
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

AT = {"base_url": V1, "api_key": KEY, "max_retries": 0}
TITLED = {"title": "zapamti", "description": "Remember a month.", **MONTH}


@call("chat")
def chat():
    answer = ChatOpenAI(model=RAG, **AT).invoke([("system", "Budi kratak."), ("user", QUESTION)])
    assert answer.text
    assert answer.usage_metadata["output_tokens"]


@call("chat, async")
async def chat_async():
    assert (await ChatOpenAI(model=RAW, max_tokens=8, **AT).ainvoke(QUESTION)).text


@call("stream")
def stream():
    pieces = [*ChatOpenAI(model=RAW, max_tokens=32, stream_usage=True, **AT).stream(QUESTION)]
    assert sum(bool(piece.text) for piece in pieces) > 1
    assert any(piece.usage_metadata for piece in pieces)


@call("responses")
def responses():
    model = ChatOpenAI(model=RAG, use_responses_api=True, **AT)
    assert model.invoke(QUESTION).text
    assert "".join(piece.text for piece in model.stream(QUESTION))


@call("completions")
def completions():
    assert OpenAI(model=RAW, max_tokens=8, **AT).invoke("Rok za žalbu je")


@call("embeddings")
def embeddings():
    embedder = OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False, **AT)
    vectors = embedder.embed_documents(["Rok je 15 dana.", "Pristojba se plaća."])
    assert len(vectors) == 2
    assert len(vectors[0]) == len(embedder.embed_query(QUESTION))


@call("structured output")
def structured():
    model = ChatOpenAI(model=RAW, **AT).with_structured_output(TITLED, method="json_schema")
    assert model.invoke(QUESTION)["mjesec"] in MONTHS


@call("tools")
def tools():
    model = ChatOpenAI(model=RAW, **AT).bind_tools([TITLED], tool_choice="any")
    answer = model.invoke(QUESTION)
    assert answer.tool_calls[0]["args"]["mjesec"] in MONTHS
    results = [ToolMessage("zapamćeno", tool_call_id=each["id"]) for each in answer.tool_calls]
    again = ChatOpenAI(model=RAW, max_tokens=8, **AT).invoke([HumanMessage(QUESTION), answer, *results])
    assert again.text


@call("errors")
def errors():
    embedder = OpenAIEmbeddings(model=EMBEDDER, tiktoken_enabled=True, **AT)
    # What it does by itself, without the tokenizer that it would fetch first.
    refused = {"model": EMBEDDER, "input": [[1, 2, 3]]}
    raises(openai.BadRequestError, lambda: embedder.client.create(**refused), "check_embedding_ctx_length")
    raises(openai.BadRequestError, lambda: ChatOpenAI(model=RAG, temperature=3, **AT).invoke(QUESTION), "temperature")


@call("hang-up")
def hang_up():
    model = ChatOpenAI(model=RAW, max_tokens=LONG, extra_body={"ignore_eos": True}, **AT)
    going = model.stream(QUESTION)
    for _, _ in zip(range(3), going, strict=False):
        pass
    going.close()


wait_to_be_let_go()
