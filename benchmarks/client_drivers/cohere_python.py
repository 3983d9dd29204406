"""Cohere's own client, of both versions of its API."""

import asyncio

import cohere
import httpx
from calls import DOCUMENTS, KEY, QUESTION, RERANKER, URL, call, raises, wait_to_be_let_go
from cohere.errors import BadRequestError, NotFoundError, UnauthorizedError

first, second = cohere.Client(KEY, base_url=URL), cohere.ClientV2(KEY, base_url=URL)
ONCE = {"max_retries": 0}


@call("rerank")
def rerank():
    ranked = second.rerank(model=RERANKER, query=QUESTION, documents=DOCUMENTS, top_n=2).results
    assert len(ranked) == 2
    assert ranked[0].relevance_score >= ranked[1].relevance_score


@call("rerank, the first version")
def rerank_first():
    ranked = first.rerank(model=RERANKER, query=QUESTION, documents=DOCUMENTS, return_documents=True).results
    assert sorted(each.document.text for each in ranked) == sorted(DOCUMENTS)


@call("rerank, async")
async def rerank_async():
    ranked = await cohere.AsyncClientV2(KEY, base_url=URL).rerank(model=RERANKER, query=QUESTION, documents=DOCUMENTS)
    assert sorted(each.index for each in ranked.results) == [0, 1, 2]


@call("errors")
def errors():
    asked = {"query": QUESTION, "documents": DOCUMENTS, "request_options": ONCE}
    for client in (first, second):
        raises(NotFoundError, lambda client=client: client.rerank(model="rerank-v3.5", **asked), "rerank-v3.5")
        raises(BadRequestError, lambda client=client: client.rerank(model=RERANKER, top_n=0, **asked), "top_n")
    raises(UnauthorizedError, lambda: cohere.ClientV2("wrong", base_url=URL).rerank(model=RERANKER, **asked))


@call("hang-up")
async def hang_up():
    sent = asyncio.Event()

    async def watch(step, _):
        if step == "http11.send_request_body.complete":
            sent.set()

    async def prepare(request):
        request.extensions["trace"] = watch

    async with httpx.AsyncClient(event_hooks={"request": [prepare]}) as connections:
        client = cohere.AsyncClientV2(KEY, base_url=URL, httpx_client=connections)
        asking = asyncio.create_task(client.rerank(model=RERANKER, query=QUESTION, documents=DOCUMENTS * 300))
        await sent.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
    ranked = await cohere.AsyncClientV2(KEY, base_url=URL).rerank(model=RERANKER, query=QUESTION, documents=DOCUMENTS)
    assert len(ranked.results) == 3


wait_to_be_let_go()
