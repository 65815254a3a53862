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

from sidcurate.places import objects

SLOW_DOWN = (503, "SlowDown", "Please reduce your request rate.")
BROKEN = (500, "InternalError", "We encountered an internal error.")
DENIED = (403, "AccessDenied", "Access Denied")
STRANGER = (403, "InvalidAccessKeyId", "The key does not exist in our records.")
CUT = (200, "", "")
# The request is carried out, and nobody hears of it.
LOST = (500, "InternalError", "The answer was lost.")
REGION = "us-east-1"


@dataclass
class Store:
    """The server.

    `faults` are the answers that the next requests of a method and path get instead of the object; a listing comes in
    pages of `page`; `asked` are the GETs, `sent` the paths of the PUTs, and `deaf_to` is a header of theirs that
    it takes no notice of.
    """

    url: str = ""
    page: int = 1000
    faults: dict[tuple[str, str], Iterator[tuple[int, str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    deaf_to: str = ""
    # The server looks whether a condition holds, and then writes: here nobody comes between.
    writing: threading.Lock = field(default_factory=threading.Lock)

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

    def spoil(self, path: str, faults: Iterable[tuple[int, str, str]], method: str = "GET") -> None:
        """Let the next requests of `/bucket/key` fail."""
        self.faults[method, path] = iter(faults)

    def forget(self) -> None:
        """Answer as a store does, and forget what was asked."""
        self.faults.clear()
        self.asked.clear()
        self.sent.clear()
        self.page, self.deaf_to = 1000, ""

    def wrap(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """Return the server's application with its answers spoilt."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
            path, method = environ["PATH_INFO"].encode("latin1").decode(), environ["REQUEST_METHOD"]
            self._note(path, method, environ)
            fault = next(self.faults.get((method, path), iter(())), None)
            if fault is None:
                with self.writing if method == "PUT" else contextlib.nullcontext():
                    return app(environ, start)
            if fault is CUT:
                return cut(app, environ, start)
            if fault is LOST:
                b"".join(app(environ, lambda *_: None))
            else:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return refuse(fault, start)

        return answer

    def _note(self, path: str, method: str, environ: dict[str, Any]) -> None:
        if method == "GET":
            self.asked.append((path, environ.get("HTTP_RANGE", "")))
            if "list-type" in environ["QUERY_STRING"]:
                environ["QUERY_STRING"] += f"&max-keys={self.page}"
        elif method == "PUT":
            self.sent.append(path)
            environ.pop(self.deaf_to, None)


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
        objects.client.cache_clear()
        yield store
    objects.client.cache_clear()
    server.shutdown()
    server.server_close()
