"""Documents named as s3://: objects in the allowed buckets, read with the service's own credentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deployments.errors import InvalidRequest, RagError, Unreachable
from serve_app.outbound.fetched import Fetched, SizeBudget

_REFUSED: Final = "names no object below one of sources.s3_buckets"
_CONNECT_S: Final = 10


class S3Source:
    """`allowed`: BUCKET or BUCKET/PREFIX each."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = tuple(prefix.rstrip("/") for prefix in allowed)

    async def fetch(self, uri: str, budget: SizeBudget) -> Fetched:
        """Raises InvalidRequest, DocumentTooLarge, Unreachable."""
        path = self.checked(uri)
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
            raise Unreachable(f"the object store failed: {type(error).__name__}: {error}") from error
        return Fetched(data, path.rpartition("/")[2], str(info.get("ContentType") or ""))

    def checked(self, uri: str) -> str:
        """BUCKET/KEY. The key is taken as it stands, as S3's own tools do. Raises InvalidRequest."""
        path = uri[len("s3://") :]
        bucket, _, key = path.partition("/")
        if not bucket or not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise InvalidRequest("must be of the form s3://BUCKET/KEY, and no part of the key empty, . or ..")
        if "?" in path:
            raise InvalidRequest("holds ?; the newest version of an object is read")
        if not any(path.startswith(f"{prefix}/") for prefix in self._allowed):
            raise InvalidRequest(_REFUSED)
        return path
