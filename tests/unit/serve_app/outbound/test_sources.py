from __future__ import annotations

import asyncio
import gzip
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import DocumentTooLarge, InvalidRequest, Unreachable
from serve_app.outbound.config import ReachConfig, SourcesConfig
from serve_app.outbound.fetched import Fetched
from serve_app.outbound.sources import Sources
from tests.support.site import Site, answer, redirect, serving
from tests.support.waiting import BOUND_S, until

MEGABYTE = 1 << 20


def web(*sites: Site, **limits: Any) -> Sources:
    reach = ReachConfig(allow_http=True, ports=tuple(site.port for site in sites), networks=("127.0.0.1/32",))
    return Sources(SourcesConfig(web=reach, **limits))


async def fetch(sources: Sources, uri: str, tenant: str = "t") -> Fetched:
    return (await sources.fetch({"uri": uri}, tenant))["uri"]


async def test_a_page_is_fetched_with_its_name_and_kind() -> None:
    async with serving() as site:
        site.replies["/a/Zakon%20o%20radu.md?v=2"] = answer(b"# Zakon", Content_Type="text/markdown; charset=utf-8")
        fetched = await fetch(web(site), site.url("/a/Zakon%20o%20radu.md?v=2"))
        assert site.asked[0].headers["accept-encoding"] == "identity"
    assert fetched == Fetched(b"# Zakon", "Zakon o radu.md", "text/markdown; charset=utf-8")


async def test_redirects_are_followed_and_the_first_name_stays() -> None:
    async with serving() as site:
        site.replies |= {"/latest.txt": redirect("/v1/x"), "/v1/x": redirect("y"), "/v1/y": answer(b"text")}
        assert await fetch(web(site), site.url("/latest.txt")) == Fetched(b"text", "latest.txt", "")
        with pytest.raises(InvalidRequest, match="more than 1 times"):
            await fetch(web(site, max_redirects=1), site.url("/latest.txt"))


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://127.0.0.2:{port}/", "not a public one"),
        ("http://169.254.169.254:{port}/latest/meta-data/", "not a public one"),
        ("http://[::ffff:127.0.0.1]:{port}/", "not a public one"),
        ("//127.0.0.2:{port}/", "not a public one"),
        ("http://127.0.0.1:1/", "port 1"),
        ("http://user:secret@127.0.0.1:{port}/", "password"),
        ("file:///etc/passwd", "begins with file:"),
        ("", "no valid URL"),
        ("http://[/", "no valid URL"),
    ],
)
async def test_each_hop_is_checked_like_the_first(location: str, told: str) -> None:
    async with serving() as site:
        site.replies["/"] = redirect(location.format(port=site.port))
        with pytest.raises(InvalidRequest, match=told) as refused:
            await fetch(web(site), site.url("/"))
        assert len(site.asked) == 1
    assert refused.value.message.startswith("uri: ")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("404 Not Found", InvalidRequest),
        ("403 Forbidden", InvalidRequest),
        ("204 No Content", InvalidRequest),
        ("429 Too Many Requests", Unreachable),
        ("503 Service Unavailable", Unreachable),
    ],
)
async def test_what_is_no_document_is_told_with_its_status(status: str, error: type[Exception]) -> None:
    async with serving() as site:
        site.replies["/"] = answer(b"", status=status)
        with pytest.raises(error, match=f"answered {status[:3]}"):
            await fetch(web(site), site.url("/"))


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async def head_only(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", Content_Length=str(MEGABYTE)))
        await asyncio.sleep(30)

    async with serving() as site:
        site.replies["/"] = head_only
        with pytest.raises(DocumentTooLarge, match=r"uri: .*1000 bytes"):
            await fetch(web(site, max_bytes=1000), site.url("/"))


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_is_counted_while_it_comes(chunked: bool) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        piece = bytes(64 * 1024)
        while True:
            writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
            await writer.drain()
            sent += len(piece)

    async with serving() as site:
        site.replies["/"] = endless
        with pytest.raises(DocumentTooLarge, match=r"uri: .*1048576 bytes"):
            await fetch(web(site, max_bytes=MEGABYTE), site.url("/"))
    assert sent < 16 * MEGABYTE


@pytest.mark.parametrize("told", ["3", "12"])
async def test_a_length_that_lies_is_refused(told: str) -> None:
    async with serving() as site:
        site.replies["/"] = answer(b"text", Content_Length=told)
        with pytest.raises(Unreachable):
            await fetch(web(site), site.url("/"))


async def test_what_comes_compressed_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 * MEGABYTE))
    async with serving() as site:
        site.replies["/"] = answer(bomb, Content_Encoding="gzip")
        with pytest.raises(InvalidRequest, match="gzip"):
            await fetch(web(site), site.url("/"))


async def test_a_server_that_lets_wait_ends_with_the_time() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", Content_Length=str(MEGABYTE)))  # hours
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving() as site:
        site.replies["/"] = drip
        with pytest.raises(Unreachable, match=r"uri: not fetched within 0\.3 s"):
            async with asyncio.timeout(BOUND_S):
                await fetch(web(site, timeout_s=0.3), site.url("/"))


async def test_bytes_and_places_are_shared_by_what_one_request_names() -> None:
    together = most = 0

    async def slow(writer: asyncio.StreamWriter) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await until(lambda: most >= 2)
        await asyncio.sleep(0.02)  # time in which a third would come; a slow machine cannot fail here
        together -= 1
        writer.write(answer(b"four"))

    async with serving() as site:
        site.replies["/"] = slow
        uris = {f"documents.{n}.uri": site.url("/") for n in range(5)}
        fetched = await web(site, max_bytes=20, concurrent=2).fetch(uris, "t")
        assert list(fetched) == list(uris)
        assert most == 2
        with pytest.raises(DocumentTooLarge, match=r"documents\.\d\.uri: .*19 bytes together"):
            await web(site, max_bytes=19).fetch(uris, "t")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("ftp://example.org/a", "none of file://, s3://"),
        ("a.txt", "none of"),
        ("file:/etc/passwd", "none of"),
        ("https:example.org", "none of"),
        ("http://example.org/a", "https:"),
        ("https://127.0.0.1/a", "not a public one"),
        ("file:///etc/passwd", "sources.file_roots"),
        ("s3://bucket/key", "sources.s3_buckets"),
    ],
)
async def test_little_is_allowed_unless_the_configuration_says_so(uri: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^uri: .*{told}"):
        await fetch(Sources(SourcesConfig()), uri)


# --- Files.


def of_all(root: Path) -> dict[str, tuple[str, ...]]:
    """A root for all tenants."""
    return {str(root): ("*",)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with documents, beside things that are not to be read."""
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "Članak 1.txt").write_text("tekst")
    (root / "empty.txt").touch()
    (root / "in" / "link.txt").symlink_to("Članak 1.txt")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "secret.txt").write_text("secret")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outside").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(root / "socket.txt"))
    return root


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/in/%C4%8Clanak%201.txt", b"tekst"),
        ("/in/../in/%C4%8Clanak%201.txt", b"tekst"),
        ("/in/link.txt", b"tekst"),
        ("/empty.txt", b""),
    ],
)
async def test_a_file_below_a_root_is_read(root: Path, path: str, data: bytes) -> None:
    for host in ("", "localhost"):
        assert (await fetch(Sources(SourcesConfig(file_roots=of_all(root))), f"file://{host}{root}{path}")).data == data


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/in/..%2f..%2fsecret.txt",
        "ed/secret.txt",
        "/out.txt",
        "/outside/secret.txt",
        "/missing.txt",
        "/in/missing/x.txt",
        "/../missing.txt",
        "",
        "/",
        "/" + "x" * 300,
    ],
)
async def test_what_is_not_below_a_root_is_refused_whether_it_is_there_or_not(root: Path, path: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^uri: names no file below .* sources.file_roots of this tenant$"):
        await fetch(Sources(SourcesConfig(file_roots=of_all(root))), f"file://{root}{path}")


@pytest.mark.parametrize("path", ["/in", "/pipe.txt", "/socket.txt", "/loop"])
async def test_what_is_no_file_is_not_opened(root: Path, path: str) -> None:
    with pytest.raises(InvalidRequest, match="no regular file"):
        await fetch(Sources(SourcesConfig(file_roots=of_all(root), timeout_s=5)), f"file://{root}{path}")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("file://host{root}/empty.txt", "another machine"),
        ("file://{root}/empty.txt?", "%3F"),
        ("file://{root}/empty.txt#a", "%23"),
        ("file://{root}/empty.txt%00", "form"),
        ("file://{root}/%ff.txt", "UTF-8"),
    ],
)
async def test_a_file_s_uri_says_what_is_wrong_with_it(root: Path, uri: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        await fetch(Sources(SourcesConfig(file_roots=of_all(root))), uri.format(root=root))


async def test_a_link_put_in_a_folder_s_place_meanwhile_leads_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "in" / "secret.txt").write_text("public")
    resolve = os.path.realpath

    def and_swap(path: Any) -> str:
        found: str = resolve(path)
        if found.endswith("in/secret.txt"):
            (root / "in").rename(root / "was")
            (root / "in").symlink_to(root.parent)
        return found

    monkeypatch.setattr(os.path, "realpath", and_swap)
    with pytest.raises(InvalidRequest, match="names no file"):
        await fetch(Sources(SourcesConfig(file_roots=of_all(root))), f"file://{root}/in/secret.txt")


async def test_a_large_file_is_not_read(root: Path) -> None:
    with (root / "large.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DocumentTooLarge, match="1000 bytes"):
        await fetch(Sources(SourcesConfig(file_roots=of_all(root), max_bytes=1000)), f"file://{root}/large.txt")


@pytest.mark.parametrize(
    "fields", [{"file_roots": ["docs"]}, {"s3_buckets": ["s3://b"]}, {"s3_buckets": ["/"]}, {"web": {"hosts": ["a/b"]}}]
)
def test_a_configuration_that_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        SourcesConfig.model_validate(fields)


@pytest.mark.parametrize("places", [{}, {"/srv/laws": []}, {"/srv/{user}": ["*"]}, {"/srv/{tenant": ["*"]}, ["/srv"]])
@pytest.mark.parametrize("field", ["file_roots", "s3_buckets"])
def test_each_place_must_name_its_tenants(field: str, places: Any) -> None:
    if isinstance(places, dict) and field == "s3_buckets":
        places = {place[1:]: tenants for place, tenants in places.items()}
    if not places:
        assert getattr(SourcesConfig.model_validate({field: places}), field) == {}
        return
    with pytest.raises(ValueError, match=field):
        SourcesConfig.model_validate({field: places})


async def test_a_tenant_reads_only_the_files_that_are_for_it(tmp_path: Path) -> None:
    for folder in ("own/a", "own/b", "of-a", "of-all"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.txt").write_text(folder)
    sources = Sources(
        SourcesConfig(
            file_roots={
                f"{tmp_path}/own/{{tenant}}": ("*",),
                f"{tmp_path}/of-a": ("a", "c"),
                f"{tmp_path}/of-all": ("*",),
            }
        )
    )
    for tenant, readable in (("a", {"own/a", "of-a", "of-all"}), ("b", {"own/b", "of-all"}), ("d", {"of-all"})):
        for folder in ("own/a", "own/b", "of-a", "of-all"):
            if folder in readable:
                assert (await fetch(sources, f"file://{tmp_path}/{folder}/x.txt", tenant)).data == folder.encode()
            else:
                with pytest.raises(InvalidRequest, match="of this tenant"):
                    await fetch(sources, f"file://{tmp_path}/{folder}/x.txt", tenant)


async def test_slow_servers_of_one_tenant_hold_up_no_other(tmp_path: Path) -> None:
    async def never(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(BOUND_S)

    (tmp_path / "x.txt").write_text("text")
    async with serving() as site:
        site.replies["/"] = never
        reach = ReachConfig(allow_http=True, ports=(site.port,), networks=("127.0.0.1/32",))
        config = SourcesConfig(web=reach, file_roots={str(tmp_path): ("*",)}, concurrent=4, tenant_concurrent=3)
        sources = Sources(config)
        slow = asyncio.create_task(sources.fetch({str(n): site.url("/") for n in range(10)}, "a"))
        await until(lambda: len(site.asked) == 3)
        assert (await fetch(sources, f"file://{tmp_path}/x.txt", "b")).data == b"text"
        assert len(site.asked) == 3
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
