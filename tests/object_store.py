"""A real S3 API on loopback, whose answers can be spoilt: throttled, refused, cut short."""

import contextlib
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="the extra s3 is not installed")
pytest.importorskip("moto.moto_server", reason="moto is not installed")

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from sidcurate import bucket

SLOW_DOWN = (503, "SlowDown", "Please reduce your request rate.")
BROKEN = (500, "InternalError", "We encountered an internal error.")
DENIED = (403, "AccessDenied", "Access Denied")
STRANGER = (403, "InvalidAccessKeyId", "The key does not exist in our records.")
CUT = (200, "", "")
REGION = "us-east-1"


@dataclass
class Store:
    """The server.

    `faults` are the answers that the next GETs of a path get instead of the object; a listing comes in pages of `page`.
    """

    url: str = ""
    page: int = 1000
    faults: dict[str, Iterator[tuple[int, str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What leads a client here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        }

    def client(self) -> Any:
        keys = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret", "region_name": REGION}
        return boto3.client("s3", endpoint_url=self.url, **keys)

    def put(self, folder: Path, where: str) -> None:
        """Copy the files of a folder to `bucket/prefix`."""
        name, _, prefix = where.partition("/")
        client = self.client()
        client.create_bucket(Bucket=name)
        for path in folder.rglob("*"):
            if path.is_file():
                key = "/".join(filter(None, (prefix, path.relative_to(folder).as_posix())))
                client.put_object(Bucket=name, Key=key, Body=path.read_bytes())

    def spoil(self, path: str, faults: Iterable[tuple[int, str, str]]) -> None:
        """Let the next GETs of `/bucket/key` fail."""
        self.faults[path] = iter(faults)

    def wrap(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """Return the server's application with its answers spoilt."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
            path = environ["PATH_INFO"].encode("latin1").decode()
            if environ["REQUEST_METHOD"] == "GET":
                self.asked.append((path, environ.get("HTTP_RANGE", "")))
                if "list-type" in environ["QUERY_STRING"]:
                    environ["QUERY_STRING"] += f"&max-keys={self.page}"
                if fault := next(self.faults.get(path, iter(())), None):
                    return cut(app, environ, start) if fault is CUT else refuse(fault, start)
            return app(environ, start)

        return answer


def refuse(fault: tuple[int, str, str], start: Callable[..., Any]) -> list[bytes]:
    status, code, message = fault
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    start(f"{status} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def cut(app: Callable[..., Any], environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    body = b"".join(app(environ, start))
    return [body[: len(body) // 2]]


@contextlib.contextmanager
def serving() -> Iterator[Store]:
    """Yield a store that this process serves."""
    store = Store()
    app = store.wrap(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    store.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # The objects belong to the process, which may have served another store before.
    urllib.request.urlopen(urllib.request.Request(f"{store.url}/moto-api/reset", method="POST")).close()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        bucket._client.cache_clear()
        yield store
    bucket._client.cache_clear()
    server.shutdown()
    server.server_close()
