"""A document that is replaced while searches go on, and documents that are deleted one by one."""

from __future__ import annotations

import asyncio

from tests.support.world import World


def text(number: int | str) -> str:
    """Three chunks, each of which names the edition and is found by the same question."""
    return "\n\n".join(f"## Članak {n}.\n\nRok za žalbu u izdanju {number} je {n} dana." for n in (1, 2, 3))


async def editions(service: World) -> list[str]:
    """The editions that a search of tenant `acme` finds, one for each chunk."""
    answer = await service.call("acme", "POST", "/v1/search", json={"query": "rok za žalbu", "top_k": 50})
    assert answer.status_code == 200, answer.text
    return [result["text"].split("izdanju ")[1].split(" ")[0] for result in answer.json()["results"]]


async def replace_beside_searches(service: World, rounds: int) -> int:
    """Replace a document `rounds` times. Each search beside a replacement finds the old edition whole or the new one
    whole, each one after it the new one. How many searches ran beside a replacement: at least one in each round."""
    searches = 0
    await service.put("acme", id="d", text=text(0))
    for number in range(1, rounds + 1):
        old, new = [str(number - 1)] * 3, [str(number)] * 3
        replacing = asyncio.create_task(service.put("acme", id="d", text=text(number)))
        while not replacing.done():
            found = await editions(service)
            assert found in (old, new), f"round {number}"
            searches += 1
        (await replacing).raise_for_status()
        assert await editions(service) == new
    return searches


async def delete_one_by_one(service: World, turns: int) -> None:
    """In each turn ten documents are handed in and deleted. A search right after a deletion finds the others only."""
    for turn in range(turns):
        ids = [f"{turn}-{n}" for n in range(10)]
        documents = [{"id": id, "text": f"## Članak 1.\n\nRok za žalbu u izdanju {id} je 8 dana."} for id in ids]
        params = {"tenant": "acme", "documents": documents, "async": False}
        command = {"id": "1", "command": "process_documents", "params": params}
        (await service.call("acme", "POST", "/v1/commands", json=command)).raise_for_status()
        assert sorted(await editions(service)) == ids
        while ids:
            answer = await service.call("acme", "DELETE", f"/v1/documents/{ids.pop(0)}")
            assert answer.status_code == 204
            assert sorted(await editions(service)) == ids
