"""Clients that are silent, slow, endless or in the way, behind Serve's own proxy and behind HAProxy.

The fake engine answers a long question with a long stream; every limit is small.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.config.args import AppArgs
from tests.support.service import Running, answers, app_config, free_port, processes, replicas
from tests.support.up import interrupt, up

pytestmark = pytest.mark.timeout(900)
SILENCE_S, REQUEST_S, BODY_S = 3, 20, 2.5
PATIENCE_S = 600
SLOTS = 20
"""Answers that the engine generates at once; the ingress takes a few requests more."""
WORKING, WAITING = SLOTS + 4, SLOTS
GROWTH_MB = 60
"""What SLOTS streams that nobody takes may cost the proxy and the ingress together."""
READERS, DOCUMENT_MB, IN_SOCKETS_MB = 5, 40, 26
"""Sockets on the way keep up to half of the last for each reader, most of it between HAProxy and the ingress."""
WORD_MS = 6
LONG = "w " * 3900
BEAT_S = 0.01
"""So often that who takes nothing of a silent stream has soon no room for more of it."""
PLACES = SLOTS + SLOTS // 10
"""Questions that the service admits at once: a tenth of them are still being looked up."""
ARGS: dict[str, Any] = {
    "embedding": {"backend": "fake"},
    "reranking": {"backend": "fake"},
    "generation": {"engine": "fake", "fake_delay_ms": WORD_MS, "max_num_seqs": SLOTS},
    "api": {
        "max_body_s": BODY_S, "max_deadline_s": REQUEST_S - 1, "deadline_s": REQUEST_S - 1,
        "max_job_events_s": REQUEST_S - 1, "heartbeat_s": BEAT_S,
    },
    "admission": {"max_waiting_in_all": WORKING - 1, "most_ahead": (PLACES - SLOTS) / SLOTS},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Service:
    running: Running
    haproxy: bool

    def open(self, *head: str, body: bytes = b"", key: str | None = None, received: int = 4096) -> socket.socket:
        """A request that is sent and of whose answer nothing is taken yet. `received`: the client's buffer for it."""
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
        opened.settimeout(30)
        address = httpx.URL(self.running.url)
        opened.connect((address.host, address.port))
        lines = (*head, "Host: h", f"Authorization: Bearer {key or self.running.key}", "", "")
        opened.sendall("\r\n".join(lines).encode() + body)
        return opened

    def ask(self, question: str, *head: str, received: int = 4096) -> socket.socket:
        body = json.dumps({"query": question, "max_tokens": 4096}).encode()
        told = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        return self.open("POST /v1/query HTTP/1.1", *told, *head, body=body, received=received)

    def until_let_go(self, readers: list[socket.socket], within_s: float) -> None:
        """Wait until the service has closed every one of these connections. (Reading them would wake them up.)"""
        ports, port = {reader.getsockname()[1] for reader in readers}, httpx.URL(self.running.url).port
        end = time.monotonic() + within_s
        while held := [
            each.raddr.port
            for each in psutil.net_connections("tcp")
            if each.laddr.port == port
            and each.raddr
            and each.raddr.port in ports
            and each.status == psutil.CONN_ESTABLISHED
        ]:
            assert time.monotonic() < end, f"{len(held)} are held"
            time.sleep(0.1)

    def first_token_s(self) -> float:
        """How long a question waits for a slot of the engine."""
        began = time.monotonic()
        with self.running.client() as client, client.stream("POST", "/v1/query", json={"query": "a b c"}) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line == "event: chunk":
                    return time.monotonic() - began
        raise AssertionError("no token")

    def memory_mb(self) -> float:
        titles = ("ProxyActor", "ServeReplica:rag:ingress", "haproxy")
        found = {process for title in titles for process in processes(title)}
        return sum(float(process.memory_info().rss) / 1e6 for process in found)

    def ingress_read_mb(self) -> float:
        """What the ingress has read of files and sockets since it started."""
        return sum(float(process.io_counters().read_chars) / 1e6 for process in replicas("ingress"))


@pytest.fixture(scope="module", params=["Serve's proxy", "HAProxy"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("bounds")
    haproxy = request.param == "HAProxy"
    bounds = {"max_ongoing_requests": WORKING, "max_queued_requests": WAITING}
    raw = app_config(ARGS, free_port(), {"ingress": {**bounds, "backpressure_config": {"retry_after_s": 2}}})
    raw["http_options"] |= {"keep_alive_timeout_s": SILENCE_S, "request_timeout_s": REQUEST_S}
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    flags = ("--haproxy",) if haproxy else ()
    with up(folder, "--config", str(folder / "config.yaml"), "--no-corpus", *flags) as started:
        started.wait_for(folder / "var/service.json")
        url = json.loads((folder / "var/service.json").read_text())["url"]
        yield Service(Running(url, (folder / "var/key").read_text(), AppArgs.model_validate(ARGS)), haproxy)
        interrupt(started)


@contextmanager
def opened(*sockets: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        for each in sockets:
            each.close()


def begun(reader: socket.socket) -> bytes:
    """The first bytes of an answer."""
    return reader.recv(12)


def test_haproxy_stands_in_front_if_it_is_asked_for(service: Service) -> None:
    names = {name for _, name in answers(psutil.Process().children(recursive=True), psutil.Process.name)}
    assert ("haproxy" in names) == service.haproxy


def test_readers_that_take_nothing_are_let_go_and_cost_little(service: Service) -> None:
    before = service.memory_mb()
    readers = [service.ask(LONG) for _ in range(SLOTS)]
    with opened(*readers):
        for reader in readers:
            assert begun(reader) == b"HTTP/1.1 200"
        time.sleep(SILENCE_S * 0.8)  # what they do not take gathers; on a slow machine it is less
        grown = service.memory_mb() - before
        service.until_let_go(readers, REQUEST_S / 2)
        assert service.first_token_s() < REQUEST_S / 2
    assert grown < GROWTH_MB, grown


def test_a_large_document_is_read_no_faster_than_its_clients_read_it(service: Service) -> None:
    data = b"".join(b"Rok je %9d dana.\n" % number for number in range(DOCUMENT_MB * 1_000_000 // 24))
    with service.running.client() as client:
        accepted = client.post("/v1/documents", files=[("files", ("large.txt", data))], data={"id": "a/large"})
        assert accepted.status_code == 202, accepted.text
        assert client.get("/v1/documents/a/large/content").content == data
        before = service.ingress_read_mb()
        readers = [service.open("GET /v1/documents/a/large/content HTTP/1.1") for _ in range(READERS)]
        with opened(*readers):
            for reader in readers:
                assert begun(reader) == b"HTTP/1.1 200"
            time.sleep(SILENCE_S * 0.8)  # on a slow machine less is read
            read = service.ingress_read_mb() - before
        assert read < READERS * IN_SOCKETS_MB, read
        assert client.delete("/v1/documents/a/large").status_code == 204


@pytest.mark.parametrize("order", ["X-Request-Disconnect-Disabled: ?1", "X-Request-Timeout-Seconds: 0"])
def test_a_hang_up_stops_the_query_whatever_the_headers_say(service: Service, order: str) -> None:
    readers = [service.ask(LONG, order, received=2**20) for _ in range(SLOTS)]
    with opened(*readers):
        for reader in readers:
            assert begun(reader) == b"HTTP/1.1 200"
    assert service.first_token_s() < REQUEST_S / 2


def test_a_caller_sets_no_time_limit_of_serve_s(service: Service) -> None:
    with service.running.client() as client:
        question = {"query": "w " * 300, "stream": False}
        answer = client.post("/v1/query", json=question, headers={"X-Request-Timeout-Seconds": "0.2"})
    assert answer.status_code == 200
    assert answer.json()["finish_reason"] == "stop"


def test_an_answer_takes_longer_than_a_client_may_be_silent(service: Service) -> None:
    question = {"query": "w " * (2 * SILENCE_S * 1000 // WORD_MS), "max_tokens": 4096, "stream": False}
    with service.running.client() as client:
        for _ in range(2):  # the second on a connection that has been used
            answer = client.post("/v1/query", json=question)
            assert (answer.status_code, answer.json()["finish_reason"]) == (200, "stop"), answer.text


def test_an_answer_has_one_request_id(service: Service) -> None:
    with service.running.client() as client:
        for path, status in (("/v1/collections", 200), ("/v1/nothing", 404)):
            answer = client.get(path, headers={"X-Request-ID": "mine-1"})
            assert (answer.status_code, answer.headers.get_list("x-request-id")) == (status, ["mine-1"])
            [made] = client.get(path).headers.get_list("x-request-id")
            [other] = client.get(path, headers={"X-Request-ID": "not one"}).headers.get_list("x-request-id")
            assert len({made, other, "not one", "mine-1"}) == 4


def test_a_body_without_end_and_without_a_key_is_answered_at_once_and_not_read(service: Service) -> None:
    head = ("POST /v1/documents HTTP/1.1", "Transfer-Encoding: chunked")
    sender, sent = service.open(*head, key="rag_none"), 0
    sender.settimeout(REQUEST_S)
    with opened(sender), ThreadPoolExecutor(1) as beside:
        began = time.monotonic()
        answer = beside.submit(begun, sender)
        with suppress(OSError):
            while True:
                sender.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        assert (
            service.haproxy or time.monotonic() - began < REQUEST_S
        )  # HAProxy lets some go only after `timeout server`
        assert answer.result() == b"HTTP/1.1 401"
    assert sent < AppArgs().api.max_body_bytes  # what the kernel and HAProxy took before the connection was closed


def test_a_body_that_comes_too_slowly_is_given_up(service: Service) -> None:
    head = ("POST /v1/query HTTP/1.1", "Content-Type: application/json", "Content-Length: 100")
    began = time.monotonic()
    sender = service.open(*head, body=b"{")
    with opened(sender):
        assert begun(sender) == b"HTTP/1.1 408"
        assert BODY_S <= time.monotonic() - began < REQUEST_S


def test_a_follower_of_a_job_who_takes_nothing_is_let_go(service: Service) -> None:
    stopped = replicas("ingestion")
    try:
        job = job_that_lasts(service, stopped)
        reader = service.open(f"GET {job}/events HTTP/1.1")
        with opened(reader):
            assert begun(reader) == b"HTTP/1.1 200"
            service.until_let_go([reader], REQUEST_S - 5)  # which is before it would end by itself
        with service.running.client() as client:
            assert client.get(job).json()["state"] in ("queued", "running")
    finally:
        for each in stopped:
            each.resume()


def job_that_lasts(service: Service, workers: list[psutil.Process]) -> str:
    """The address of a job whose workers are suspended. One that is suspended in a transaction keeps the database
    locked, and the job is refused: then they go on for a moment."""
    document = {"title": "t", "text": "A text.", "collection": "default"}
    end = time.monotonic() + PATIENCE_S
    while True:
        for worker in workers:
            worker.suspend()
        with service.running.client() as client:
            answer = client.post("/v1/documents", json=document)
        if answer.status_code != 503:
            return str(answer.raise_for_status().headers["location"])
        assert time.monotonic() < end, answer.text
        for worker in workers:
            worker.resume()
        time.sleep(0.05)


def test_what_the_service_refuses_comes_as_it_is(service: Service) -> None:
    """Both times by the service itself, not by Serve: there is no place, and others of the same tenant wait for one."""
    readers = [service.ask(LONG, received=2**20) for _ in range(PLACES)]
    try:
        for reader in readers:
            assert begun(reader) == b"HTTP/1.1 200"
        assert refusal_of_service(service) == (503, "overloaded")
        readers.append(service.ask(LONG, received=2**20))
        end = time.monotonic() + 5  # it waits for longer
        while (told := refusal_of_service(service)) == (503, "overloaded") and time.monotonic() < end:
            time.sleep(0.1)
        assert told == (429, "rate_limited")
    finally:
        for each in readers:
            each.close()
    until_taken(service)


def refusal_of_service(service: Service) -> tuple[int, str]:
    """Status and code of what a hurried question is told."""
    with service.running.client() as client:
        answer = client.post("/v1/query", json={"query": "a"}, headers={"X-Deadline-Ms": "500"})
    problem = answer.json()
    assert "place in generation" in problem["detail"], problem
    assert (problem["status"], problem["retryable"]) == (answer.status_code, True)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, problem["code"]


def test_who_finds_the_service_full_is_told_when_to_come_again(service: Service) -> None:
    readers = [service.ask(LONG, received=2**20) for _ in range(WORKING + WAITING + 16)]
    try:
        end = time.monotonic() + 15  # longer than a question waits for its place
        while (refusal := a_refusal(readers)) is None:
            assert time.monotonic() < end, "all were taken"
            time.sleep(0.1)
        assert (refusal.status, json.loads(refusal.read())["code"]) == (503, "overloaded")
        assert int(refusal.headers["retry-after"]) >= 1
        assert refusal.headers["content-type"] == "application/problem+json"
    finally:
        for each in readers:
            each.close()
    until_taken(service)


def a_refusal(readers: list[socket.socket]) -> HTTPResponse | None:
    """The first 503 among the answers that are there, or come within half a second. (A question that waits for a place
    may be told 429.)"""
    for reader in select.select(readers, [], [], 0.5)[0]:
        if reader.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 503":
            answer = HTTPResponse(reader)
            answer.begin()
            return answer
    return None


def until_taken(service: Service) -> None:
    """Ask until there is an answer. A refusal before that says when to try again."""
    end = time.monotonic() + PATIENCE_S
    with service.running.client() as client:
        while (answer := client.get("/v1/collections")).status_code != 200:
            # 504 comes from a new replica that takes longer than a request may.
            told = (answer.status_code, answer.headers.get("retry-after"))
            assert told in ((503, "2"), (504, None)), answer.text
            assert answer.json()["retryable"] is True
            assert time.monotonic() < end
            time.sleep(0.2)


def test_who_loses_the_replica_is_told_to_come_again(service: Service) -> None:
    with service.running.client() as client, ThreadPoolExecutor(1) as beside:
        client.get("/v1/collections").raise_for_status()  # a connection to the replica that HAProxy might use again
        asking = beside.submit(client.post, "/v1/query", json={"query": LONG, "max_tokens": 4096, "stream": False})
        time.sleep(1)  # nothing tells when the replica has the question
        for victim in replicas("ingress"):
            os.kill(victim.pid, signal.SIGKILL)
        answer = asking.result()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "2"
    until_taken(service)
