"""One client of a chat route in OpenAI's shape, in a process of its own: its questions one after the other.

Prints, once told to go, what came of each as JSON: when it was sent, when each piece of text came, the answer's tokens
as the server counts them. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 120
PROMPT = "Koliko dugo se čuvaju dokumenti i tko ih briše?"


@dataclass(frozen=True, slots=True)
class Answer:
    sent: float
    came: Sequence[float]
    tokens: int

    @property
    def first_ms(self) -> float:
        return 1_000 * (self.came[0] - self.sent)

    @property
    def gaps_ms(self) -> list[float]:
        return [1_000 * (after - before) for before, after in zip(self.came, self.came[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    url: str
    model: str
    key: str


@contextmanager
def clients(server: Server, count: int, tokens: int) -> Iterator[Clients]:
    """So many clients, each connected and with one answer behind it."""
    command = [sys.executable, "-m", "benchmarks.chat_client", server.url, server.model, str(tokens)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        yield Clients(running, server.key)
    finally:
        for process in running:
            process.kill()
            process.communicate()


class Clients:
    def __init__(self, processes: Sequence[subprocess.Popen[str]], key: str) -> None:
        self._processes = processes
        self._tell(key)
        self._heard()

    def ask(self, questions: int) -> list[list[Answer]]:
        """Each client's answers to so many questions, all clients at once."""
        self._tell(str(questions))
        return [[Answer(*fields) for fields in json.loads(line)] for line in self._heard()]

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{line}\n")
            process.stdin.flush()

    def _heard(self) -> list[str]:
        return [process.stdout.readline() for process in self._processes if process.stdout]


class _Client:
    def __init__(self, url: str, model: str, tokens: int, key: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._path = f"{parts.path}/v1/chat/completions"
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._body = json.dumps(
            {
                "model": model,
                "messages": [{"role": "user", "content": PROMPT}],
                "max_tokens": tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )

    def connect_anew(self) -> None:
        """A server may have closed a connection on which nothing was asked for some seconds."""
        self._connection.close()
        self._connection.connect()

    def ask(self) -> Answer:
        sent, came, usage = time.monotonic(), list[float](), None
        self._connection.request("POST", self._path, self._body, self._headers)
        response = self._connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read().decode()}")
        while line := response.readline():
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if any(choice["delta"].get("content") for choice in event["choices"]):
                came.append(time.monotonic())
            usage = event.get("usage") or usage
        if usage is None:
            raise RuntimeError("the answer broke off")
        return Answer(sent, came, usage["completion_tokens"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("tokens", type=int)
    given = parser.parse_args()
    client = _Client(given.url, given.model, given.tokens, sys.stdin.readline().strip())
    client.ask()
    print(flush=True)
    for line in sys.stdin:
        client.connect_anew()
        answers = [client.ask() for _ in range(int(line))]
        print(json.dumps([[answer.sent, answer.came, answer.tokens] for answer in answers]), flush=True)


if __name__ == "__main__":
    main()
