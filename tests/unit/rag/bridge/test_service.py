"""The bridge on the project's own API: scripted stages behind it, real SQLite, one process beside the test's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from deployments.errors import StageUnavailable
from serve_app.api.app import create_app
from tests.integration.api.conftest import Api, serving
from tests.support.bridge import RAG, WAIT_S


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Port:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def send(self, id: object, command: str, /, **params: Any) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"id": id, "command": command, "params": params}).encode()
        self.process.stdin.write(len(body).to_bytes(4, "big") + body)

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            size = int.from_bytes(await self.process.stdout.readexactly(4), "big")
            message: dict[str, Any] = json.loads(await self.process.stdout.readexactly(size))
        return message


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[Api, Port]]:
    async with serving(folder) as api:
        config = uvicorn.Config(create_app(api.services), port=0, lifespan="off", log_config=None)
        server = _Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        key = api.client.headers["Authorization"].removeprefix("Bearer ")
        process = await asyncio.create_subprocess_exec(
            RAG, "bridge", "--url", f"http://127.0.0.1:{port}", "--key", key,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield api, Port(process)
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(WAIT_S):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            server.should_exit = True
            await running


async def test_a_question_is_streamed_a_command_answered_and_a_wrong_one_refused(tmp_path: Path) -> None:
    async with connected(tmp_path) as (api, port):
        port.send(1, "query", query="Koji je rok za žalbu?")
        told = [await port.read() for _ in range(5)]
        assert [message["type"] for message in told] == ["sources", "chunk", "chunk", "citation", "complete"]
        assert {message["id"] for message in told} == {1}
        port.send("2", "health")
        assert (await port.read())["data"]["ready"] is True
        port.send("3", "query", query="q", top=1)
        refused = await port.read()
        assert (refused["id"], refused["code"], refused["status"]) == ("3", "invalid_request", 422)
        assert "top" in refused["error"]
        assert refused["request_id"]
        api.stages.failures["generation"] = StageUnavailable("generation is gone")
        port.send("4", "query", query="q")
        assert (await port.read())["type"] == "sources"
        failed = await port.read()
        assert (failed["id"], failed["code"], failed["retryable"]) == ("4", "stage_unavailable", True)


async def test_cancel_stops_all_work_in_the_service(tmp_path: Path) -> None:
    async with connected(tmp_path) as (api, port):
        api.stages.delays["token"] = 30
        port.send("7", "query", query="q")
        sources = await port.read()
        async with asyncio.timeout(WAIT_S):
            while not api.stages.requests:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        port.send("c", "cancel", id="7")
        assert [(await port.read())["code"], (await port.read())["data"]["state"]] == ["cancelled", "cancelled"]
        async with asyncio.timeout(WAIT_S):
            while not api.stages.streams_closed:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        assert api.stages.aborted == [("t", sources["query_id"])]


async def test_a_complete_answer_is_not_taken_for_one_whose_reader_left(tmp_path: Path) -> None:
    async with connected(tmp_path) as (api, port):
        for id in range(20):
            port.send(id, "query", query="q")
        ends = 0
        while ends < 20:
            ends += (await port.read())["type"] == "complete"
    assert api.stages.aborted == []
