"""Documents named as s3://: objects in the allowed buckets, read with the service's own credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from deployments.errors import InvalidRequest, RagError, Unreachable
from serve_app.outbound.fetched import Fetched, SizeBudget
from serve_app.outbound.places import places_of

_REFUSED: Final = "names no object below one of the sources.s3_buckets of this tenant"
_CONNECT_S: Final = 10


class S3Source:
    """`allowed`: the tenants of each BUCKET or BUCKET/PREFIX, see SourcesConfig."""

    def __init__(self, allowed: Mapping[str, Sequence[str]]) -> None:
        self._allowed = allowed

    async def fetch(self, uri: str, budget: SizeBudget, tenant_id: str) -> Fetched:
        """Raises InvalidRequest, DocumentTooLarge, Unreachable."""
        path = self.checked(uri, tenant_id)
        import s3fs  # half a second, which a service without such documents need not spend

        store = s3fs.S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={"connect_timeout": _CONNECT_S, "retries": {"max_attempts": 0}},  # s3fs itself tries again
        )
        try:
            session = await store.set_session()
            try:
                info = await store._info(path)
                if info["type"] != "file":
                    raise InvalidRequest("names a folder; name one object")
                budget.take(info["size"])
                # An empty object has no range of bytes.
                data: bytes = await store._cat_file(path, start=0, end=info["size"]) if info["size"] else b""
            finally:
                await session.close()
        except FileNotFoundError:
            raise InvalidRequest("names an object that is not there") from None
        except RagError:
            raise
        except PermissionError:
            raise InvalidRequest("names an object that the service's own credentials may not read") from None
        except Exception as error:  # botocore's and s3fs's have no common base
            raise Unreachable(
                "the object store does not answer as it should; try again", internal=f"{type(error).__name__}: {error}"
            ) from error
        return Fetched(data, path.rpartition("/")[2], str(info.get("ContentType") or ""))

    def checked(self, uri: str, tenant_id: str) -> str:
        """BUCKET/KEY. The key is taken as it stands, as S3's own tools do. Raises InvalidRequest."""
        path = uri[len("s3://") :]
        bucket, _, key = path.partition("/")
        if not bucket or not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise InvalidRequest("must be of the form s3://BUCKET/KEY, and no part of the key empty, . or ..")
        if "?" in path:
            raise InvalidRequest("holds ?; the newest version of an object is read")
        prefixes = (place.rstrip("/") for place in places_of(self._allowed, tenant_id))
        if not any(path.startswith(f"{prefix}/") for prefix in prefixes):
            raise InvalidRequest(_REFUSED)
        return path
