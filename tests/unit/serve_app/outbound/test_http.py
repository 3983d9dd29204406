from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from deployments.errors import InvalidRequest, Unreachable
from serve_app.outbound.config import ReachConfig
from serve_app.outbound.http import Http
from tests.support.site import Names, Site, answer, serving

LOCAL = "127.0.0.1/32"


def reach(*sites: Site, networks: tuple[str, ...] = (LOCAL,), hosts: tuple[str, ...] = ("*",)) -> ReachConfig:
    return ReachConfig(allow_http=True, ports=tuple(site.port for site in sites), networks=networks, hosts=hosts)


async def get(http: Http, url: str) -> bytes:
    async with http.request("GET", url, tenant_id="t", headers={}) as found:
        return await found.read()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.org/", "https:"),
        ("ftp://example.org/", "https:"),
        ("https:///path", "host"),
        ("https://u@example.org/", "user name"),
        ("https://u:p@example.org/", "user name"),
        ("https://:p@example.org/", "user name"),
        ("https://example.org:8443/", "port 8443"),
        ("https://example.org:80/", "port 80"),
        ("https://example.org:99999/", "valid"),
        ("https://exam\\ple.org/", "valid"),
        ("https://other.org/", "other.org"),
        ("https://badexample.org/", "badexample.org"),
        ("https://127.0.0.1/", "127.0.0.1"),
    ],
)
def test_what_may_not_be_asked_is_refused_before_anything_is_looked_up(url: str, told: str) -> None:
    http = Http(ReachConfig(hosts=("example.org", "*.example.org")))
    with pytest.raises(InvalidRequest, match=told):
        http.checked(url)


@pytest.mark.parametrize("url", ["https://example.org/a", "HTTPS://Docs.Example.org./", "https://example.org:443/"])
def test_what_may_be_asked_passes(url: str) -> None:
    assert Http(ReachConfig(hosts=("example.org", "*.example.org"))).checked(url).scheme == "https"


async def test_the_answer_comes_as_it_was_sent() -> None:
    async with serving() as site:
        site.replies["/a?b=c"] = answer(b"text")
        assert await get(Http(reach(site)), site.url("/a?b=c#d")) == b"text"
        [asked] = site.asked
    assert asked.headers["host"] == f"127.0.0.1:{site.port}"


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "not a public one"),
        ("localhost", "not a public one"),
        ("[::ffff:127.0.0.1]", "not a public one"),
        ("0x7f000001", "not a public one"),
        ("127.1", "valid"),
        ("2130706433", "valid"),
        ("0", "valid"),
        ("127.0.0.1.", "valid"),
    ],
)
async def test_an_address_that_is_not_public_is_refused_however_it_is_spelt(host: str, told: str) -> None:
    async with serving() as site:
        with pytest.raises(InvalidRequest, match=told):
            await get(Http(reach(site, networks=())), site.url("/", host=host))
    assert site.asked == []


async def test_a_name_that_leads_inside_is_refused_without_telling_where() -> None:
    names = Names({"inside.test": [["10.1.2.3"]], "mixed.test": [["10.1.2.3", "127.0.0.1"]]})
    async with serving() as site:
        site.replies["/"] = answer(b"text")
        http = Http(reach(site), resolver=lambda tenant_id: names)
        with pytest.raises(InvalidRequest, match=r"inside\.test") as refused:
            await get(http, site.url("/", host="inside.test"))
        assert "10.1" not in refused.value.message
        assert await get(http, site.url("/", host="mixed.test")) == b"text"


async def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    """A name whose second answer leads inside: there is no second question."""
    names = Names({"rebinding.test": [["127.0.0.1"], ["127.0.0.2"]]})
    async with serving() as site, serving("127.0.0.2", site.port) as inside:
        site.replies["/"], inside.replies["/"] = answer(b"public"), answer(b"secret")
        http = Http(reach(site), resolver=lambda tenant_id: names)
        assert await get(http, site.url("/", host="rebinding.test")) == b"public"
        assert names.looked_up == ["rebinding.test"]
        assert site.asked[0].headers["host"] == f"rebinding.test:{site.port}"
        with pytest.raises(InvalidRequest, match="not a public one"):
            await get(http, site.url("/", host="rebinding.test"))
    assert inside.asked == []


async def test_no_proxy_and_no_password_file_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    async with serving() as site, serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.setenv("NETRC", str(netrc))
        site.replies["/"] = answer(b"direct")
        assert await get(Http(reach(site)), site.url("/")) == b"direct"
        assert "authorization" not in site.asked[0].headers
    assert proxy.asked == []


async def test_a_certificate_must_be_for_the_name_that_was_asked() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("docs.test").configure_cert(server)
    authority.configure_trust(client)
    names = Names({"docs.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    async with serving(tls=server) as site:
        site.replies["/"] = answer(b"text")
        http = Http(reach(site), resolver=lambda tenant_id: names, tls=client)
        assert await get(http, site.url("/", host="docs.test", scheme="https")) == b"text"
        with pytest.raises(Unreachable, match="certificate"):
            await get(http, site.url("/", host="other.test", scheme="https"))
        with pytest.raises(Unreachable, match="certificate"):
            await get(
                Http(reach(site), resolver=lambda tenant_id: names), site.url("/", host="docs.test", scheme="https")
            )
    assert len(site.asked) == 1


async def test_who_does_not_answer_is_told() -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving() as site:
        site.replies["/gone"], site.replies["/odd"] = hang_up, b"no HTTP\r\n\r\n"
        http = Http(reach(site))
        for path in ("/gone", "/odd"):
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
                await get(http, site.url(path))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        await get(http, site.url("/"))
