"""openai-python, as its documentation uses it."""

import json

import openai
from calls import EMBEDDER, KEY, LONG, MONTH, MONTHS, QUESTION, RAG, RAW, V1, call, raises, wait_to_be_let_go
from pydantic import BaseModel

client = openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0)
later = openai.AsyncOpenAI(base_url=V1, api_key=KEY, max_retries=0)
ASKED = [{"role": "user", "content": QUESTION}]
TOOL = {"type": "function", "function": {"name": "zapamti", "description": "Remember a month.", "parameters": MONTH}}


@call("models")
def models():
    assert {RAG, RAW, EMBEDDER} <= {model.id for model in client.models.list()}
    assert client.models.retrieve(RAG).id == RAG


@call("chat")
def chat():
    message = client.chat.completions.create(model=RAG, messages=ASKED, max_tokens=32).choices[0].message
    assert message.content
    assert message.sources
    assert isinstance(message.annotations, list)


@call("chat, async")
async def chat_async():
    answer = await later.chat.completions.create(model=RAW, messages=ASKED, max_tokens=8)
    assert answer.usage.completion_tokens == 8
    assert answer.choices[0].finish_reason == "length"


@call("stream")
def stream():
    chunks = [
        *client.chat.completions.create(
            model=RAW, messages=ASKED, max_tokens=32, stream=True, stream_options={"include_usage": True}
        )
    ]
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert chunks[-1].usage.completion_tokens > 1


@call("stream, with the client's helper")
async def stream_helped():
    async with later.chat.completions.stream(model=RAG, messages=ASKED, max_tokens=32) as events:
        kinds = {event.type async for event in events}
        assert events.current_completion_snapshot.choices[0].message.content
    assert {"chunk", "content.delta"} <= kinds


@call("responses")
def responses():
    answer = client.responses.create(model=RAG, input=QUESTION, max_output_tokens=32)
    assert answer.output_text
    assert answer.usage.output_tokens


@call("responses, stream")
def responses_stream():
    with client.responses.stream(model=RAW, input=QUESTION, max_output_tokens=32) as events:
        told = [*events]
    assert {"response.created", "response.output_text.delta"} <= {event.type for event in told}
    assert told[-1].response.output_text


@call("completions")
def completions():
    answer = client.completions.create(model=RAW, prompt="Rok za žalbu je", max_tokens=8)
    assert answer.choices[0].text
    assert answer.usage.completion_tokens == 8


@call("embeddings")
def embeddings():
    made = client.embeddings.create(model=EMBEDDER, input=["Rok je 15 dana.", QUESTION])
    assert [each.index for each in made.data] == [0, 1]
    assert abs(sum(value * value for value in made.data[0].embedding) - 1) < 1e-3


@call("structured output")
def structured():
    class Month(BaseModel):
        mjesec: str

    answer = client.chat.completions.parse(
        model=RAW,
        messages=ASKED,
        response_format={"type": "json_schema", "json_schema": {"name": "m", "schema": MONTH, "strict": True}},
    )
    assert Month.model_validate_json(answer.choices[0].message.content).mjesec in MONTHS


@call("structured output, responses")
def structured_response():
    form = {"type": "json_schema", "name": "m", "schema": MONTH, "strict": True}
    answer = client.responses.create(model=RAW, input=QUESTION, text={"format": form})
    assert json.loads(answer.output_text)["mjesec"] in MONTHS


@call("tools")
def tools():
    for choice in ("required", {"type": "function", "function": {"name": "zapamti"}}):
        message = client.chat.completions.create(model=RAW, messages=ASKED, tools=[TOOL], tool_choice=choice)
        [*called] = message.choices[0].message.tool_calls
        assert {each.function.name for each in called} == {"zapamti"}
        assert json.loads(called[0].function.arguments)["mjesec"] in MONTHS
    again = [*ASKED, message.choices[0].message]
    again += [{"role": "tool", "tool_call_id": each.id, "content": "zapamćeno"} for each in called]
    assert client.chat.completions.create(model=RAW, messages=again, max_tokens=8).choices[0].message.content


@call("tools, stream")
def tools_stream():
    with client.chat.completions.stream(
        model=RAW, messages=ASKED, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "zapamti"}}
    ) as events:
        [called] = events.get_final_completion().choices[0].message.tool_calls
    assert json.loads(called.function.arguments)["mjesec"] in MONTHS


@call("tools, responses")
def tools_response():
    tool = {"type": "function", "name": "zapamti", "parameters": MONTH, "strict": True}
    asked = {"model": RAW, "input": QUESTION, "tools": [tool], "tool_choice": "required"}
    answer = client.responses.create(**asked)
    called = [item for item in answer.output if item.type == "function_call"]
    assert called
    assert json.loads(called[0].arguments)["mjesec"] in MONTHS
    with client.responses.stream(**asked) as events:
        kinds = {event.type for event in events}
    assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds


@call("errors")
def errors():
    def wrong():
        client.chat.completions.create(model=RAG, messages=ASKED, temperature=3)

    error = raises(openai.BadRequestError, wrong, "temperature")
    assert (error.param, error.type) == ("temperature", "invalid_request_error")
    raises(openai.NotFoundError, lambda: client.models.retrieve("gpt-4o"), "gpt-4o")
    raises(openai.AuthenticationError, lambda: client.with_options(api_key="wrong").models.list())
    raises(openai.NotFoundError, lambda: client.images.generate(prompt="a", model=RAW), "/v1/images/generations")
    refused = {"model": RAG, "messages": ASKED, "tools": [TOOL]}
    assert raises(openai.BadRequestError, lambda: client.chat.completions.create(**refused)).param == "tools"


@call("hang-up")
def hang_up():
    going = client.chat.completions.create(
        model=RAW, messages=ASKED, max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}
    )
    for _, _ in zip(range(3), going, strict=False):
        pass
    going.close()


wait_to_be_let_go()
