"""s3fs and botocore, as they are, against a server that speaks as much of S3 as reading an object takes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deployments.errors import DocumentTooLarge, InvalidRequest, Unreachable
from serve_app.outbound.config import SourcesConfig
from serve_app.outbound.fetched import Fetched
from serve_app.outbound.s3 import S3Source
from serve_app.outbound.sources import Sources
from tests.support.site import Site, answer, s3_environment, serving

_ERROR = b"<?xml version='1.0'?><Error><Code>%b</Code><Message>no</Message></Error>"


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with serving() as site:
        for name, value in s3_environment(site).items():
            monkeypatch.setenv(name, value)
        yield site


async def fetch(uri: str, *buckets: str, max_bytes: int = 1_000, tenant: str = "t") -> Fetched:
    config = SourcesConfig(s3_buckets=dict.fromkeys(buckets, ("*",)), max_bytes=max_bytes)
    return (await Sources(config).fetch({"uri": uri}, tenant))["uri"]


async def test_an_object_is_read_with_the_service_s_own_credentials(store: Site) -> None:
    head = {"Content_Type": "text/markdown", "ETag": '"1"', "Last_Modified": "Wed, 25 Nov 2026 08:00:00 GMT"}
    store.replies["/docs/laws/zakon.md"] = answer(b"# Zakon", **head)
    assert await fetch("s3://docs/laws/zakon.md", "docs/laws") == Fetched(b"# Zakon", "zakon.md", "text/markdown")
    assert {asked.line.split()[0] for asked in store.asked} == {"HEAD", "GET"}
    assert all("Credential=key/" in asked.headers["authorization"] for asked in store.asked)


async def test_a_large_object_is_not_read(store: Site) -> None:
    store.replies["/docs/a.md"] = answer(b"# Zakon", ETag='"1"')
    with pytest.raises(DocumentTooLarge, match=r"uri: .*6 bytes"):
        await fetch("s3://docs/a.md", "docs", max_bytes=6)
    assert [asked.line.split()[0] for asked in store.asked] == ["HEAD"]


async def test_what_is_not_there_or_not_shown_is_told(store: Site) -> None:
    store.replies["/docs/mine.md"] = answer(_ERROR % b"AccessDenied", status="403 Forbidden")
    with pytest.raises(InvalidRequest, match=r"^uri: names an object"):
        await fetch("s3://docs/mine.md", "docs")
    store.replies["/docs?list-type=2&prefix=a.md%2F&delimiter=%2F&max-keys=1&encoding-type=url"] = answer(
        b"<?xml version='1.0'?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
    )
    with pytest.raises(InvalidRequest, match=r"^uri: names an object that is not there"):
        await fetch("s3://docs/a.md", "docs")


async def test_a_store_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, store: Site) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="uri: "):
        await fetch("s3://docs/a.md", "docs")


@pytest.mark.parametrize("uri", ["s3://docs/laws/a.md", "s3://docs/laws/b/c d.md", "s3://own/any", "S3://own/ž"])
def test_what_lies_below_an_allowed_place_may_be_named(uri: str) -> None:
    assert S3Source({"docs/laws/": ("*",), "own": ("t",)}).checked(uri, "t") == uri[5:]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("s3://docs/other.md", "sources.s3_buckets"),
        ("s3://docs/lawsuits/a.md", "sources.s3_buckets"),
        ("s3://owned/a.md", "sources.s3_buckets"),
        ("s3://docs/laws/../other.md", "form"),
        ("s3://docs/laws/./a.md", "form"),
        ("s3://docs/laws//a.md", "form"),
        ("s3://docs/laws/", "form"),
        ("s3://own", "form"),
        ("s3://own/", "form"),
        ("s3:///a.md", "form"),
        ("s3://own/a.md?versionId=1", "newest"),
    ],
)
def test_the_rest_may_not(uri: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        S3Source({"docs/laws/": ("*",), "own": ("t",)}).checked(uri, "t")


def test_a_tenant_may_name_only_what_is_for_it() -> None:
    source = S3Source({"docs/{tenant}": ("*",), "laws/of-a/": ("a",)})
    for tenant, uri in (("a", "s3://docs/a/x.md"), ("b", "s3://docs/b/x.md"), ("a", "s3://laws/of-a/x.md")):
        assert source.checked(uri, tenant) == uri[5:]
    for tenant, uri in (("b", "s3://docs/a/x.md"), ("b", "s3://laws/of-a/x.md"), ("a", "s3://docs/ab/x.md")):
        with pytest.raises(InvalidRequest, match=r"sources\.s3_buckets of this tenant"):
            source.checked(uri, tenant)
