"""Raws in an object store: what stands below `s3://bucket/prefix`, as if it were a folder.

Credentials are found as every AWS tool finds them: environment, `~/.aws`, `AWS_PROFILE`; `AWS_ENDPOINT_URL` names a
store other than Amazon's. Where there are none, botocore asks the metadata service of an EC2 machine, at
169.254.169.254; `AWS_EC2_METADATA_DISABLED=true` stops that. Nothing else but the store is ever asked.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from sidcurate.directories import Read
from sidcurate.errors import MissingResourceError, UnreadableRawError, UsageError
from sidcurate.patience import Patience
from sidcurate.rawfile import CHANGED, check_size
from sidcurate.scan import HEAD_BYTES, RawFile, Scan

SCHEME = "s3://"
NO_PATH = "a key that is no path: it has two slashes in a row"
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_CONNECT_S, _ANSWER_S = 10, 60
_TOO_MANY, _SERVER = 429, 500
_GONE, _OTHER_ETAG = 404, 412
# The store knows who asks, and lets nobody of that name in.
_NOT_ADMITTED = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
    *("RequestTimeTooSkewed", "AuthorizationHeaderMalformed"),
}


@dataclass(frozen=True)
class Bucket:
    """The objects below a prefix of a bucket; `prefix` is empty or ends with a slash.

    Each object is asked for by its ETag too, so that what is read is what was listed.
    """

    bucket: str
    prefix: str = ""
    patience: Patience = field(default=Patience(), compare=False)
    # A slow line needs its time for a raw of 100 MB.
    seconds: ClassVar[float] = 600.0

    @classmethod
    def at(cls, url: str) -> "Bucket":
        """Return the place that a URL names.

        Raises:
            UsageError: it is no such URL.
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise UsageError(f"{url!r} names no bucket; write s3://bucket or s3://bucket/prefix")
        prefix = (found[2] or "").strip("/")
        return cls(found[1], prefix and f"{prefix}/")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The URL."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def scan(self) -> Scan:
        """Return what stands below the prefix, by the rules of a folder: hidden names are left out.

        Raises:
            UsageError: the bucket is missing, may not be listed, or holds no raw file there.
            MissingResourceError: the store does not answer, or does not know who asks.
        """
        found = Scan(self.name)
        for listed in self._objects():
            path = listed.path
            parts = path.split("/")
            if not parts[-1] or any(part.startswith(".") for part in parts):
                continue
            if "" in parts:
                found.others[NO_PATH] += 1
            elif found.takes(path, self._head):
                found.raws.append(listed)
        return found.checked()

    def read(self, file: RawFile) -> bytes:
        """Return the bytes of a raw, asked for anew where the store was busy or cut its answer short.

        Raises:
            UnreadableRawError: the store does not give it, or it is another one than was listed.
            MissingResourceError: the store cannot be reached, or does not know who asks.
        """
        check_size(file.size_bytes)
        return self._part(file, 0, file.size_bytes)

    @contextmanager
    def opened(self, file: RawFile) -> Iterator[Read]:
        """Yield what reads some bytes of a raw, from a place on: each time a request, and errors as of `read`."""

        def read(start: int, count: int, /) -> bytes:
            there = min(count, file.size_bytes - start)
            return self._part(file, start, there) if there > 0 else b""

        yield read

    def read_ahead(self, file: RawFile) -> None:
        """Do nothing: what was fetched would have to be kept, and the line is busy with the others."""

    def standing(self) -> str:
        """Return the name, once the bucket has been seen to be there; errors as `scan`."""
        self._page(MaxKeys=1)
        return self.name

    def _objects(self) -> Iterator[RawFile]:
        """Yield the objects below the prefix, their paths relative to it."""
        more: dict[str, str] = {}
        while True:
            page = self._page(**more)
            for each in page.get("Contents", ()):
                mtime_ns = int(each["LastModified"].timestamp()) * 1_000_000_000
                yield RawFile(each["Key"].removeprefix(self.prefix), each["Size"], mtime_ns, each["ETag"])
            if not page["IsTruncated"]:
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, **which: Any) -> Any:  # noqa: ANN401 - boto3's answers are dictionaries
        try:
            return self.patience.ask(
                self.name,
                lambda: _client().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, **which),
                _is_passing,
            )
        except _errors() as error:
            self._raise_if_of_all(error)
            raise UsageError(f"{self.name} cannot be listed: {_why_not_listed(error)}") from error

    def _part(self, file: RawFile, start: int, count: int) -> bytes:
        which = {"Range": f"bytes={start}-{start + count - 1}"} if count < file.size_bytes else {}
        try:
            content = self._get(file.path, IfMatch=file.etag or "", **which)
        except _errors() as error:
            self._raise_if_of_all(error)
            if _status(error) in (_GONE, _OTHER_ETAG):
                raise UnreadableRawError(CHANGED) from error
            after = f" in {self.patience.tries} tries" if _is_passing(error) else ""
            raise UnreadableRawError(f"the store did not give it{after} ({_words(error)}); ingest again") from error
        if len(content) != count:
            raise UnreadableRawError(CHANGED)
        return content

    def _head(self, path: str) -> bytes:
        try:
            return self._get(path, Range=f"bytes=0-{HEAD_BYTES - 1}")
        except _errors() as error:
            self._raise_if_of_all(error)
            return b""  # As of a file in a folder that cannot be opened.

    def _get(self, path: str, **how: str) -> bytes:
        def get() -> bytes:
            with closing(_client().get_object(Bucket=self.bucket, Key=self.prefix + path, **how)["Body"]) as body:
                content: bytes = body.read()
            return content

        return self.patience.ask(path, get, _is_passing)

    def _raise_if_of_all(self, error: Exception) -> None:
        """Raise an error of ours where whatever is asked next would fail for the same reason."""
        from botocore import exceptions

        if isinstance(error, exceptions.ConnectionError):
            raise MissingResourceError(
                f"{self.name} cannot be reached ({_words(error)}); see to the line, and to AWS_ENDPOINT_URL, which "
                "names a store other than Amazon's, then run again: what was read is kept"
            ) from error
        answered = isinstance(error, exceptions.ClientError) and _code(error) not in _NOT_ADMITTED
        if not answered and not _is_passing(error):
            raise MissingResourceError(
                f"{self.name} cannot be asked ({_words(error)}); give credentials: run `aws configure`, or set "
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Then run again: what was read is kept"
            ) from error


def require_s3_extra() -> None:
    """Say what to install where the client of object stores is missing.

    Raises:
        MissingResourceError: it cannot be imported.
    """
    try:
        import boto3  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingResourceError(
            f"{error.name} is not installed, which reads s3:// addresses: pip install 'sidcurate[s3]'"
        ) from error


@cache
def _client() -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    """Return the client of this process. It never asks again by itself: `Patience` covers a cut answer too."""
    require_s3_extra()
    import boto3
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1}, connect_timeout=_CONNECT_S, read_timeout=_ANSWER_S)
    try:
        return boto3.Session().client("s3", config=once)
    except ValueError as error:
        raise MissingResourceError(f"AWS_ENDPOINT_URL is no address of a store ({error}); mend it") from error


def _errors() -> tuple[type[Exception], ...]:
    """Return what botocore raises: two trees."""
    require_s3_extra()
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _is_passing(error: Exception) -> bool:
    """Return whether a failure may be over at the next try: a busy store, a cut or silent line."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = _status(error)
        return status == _TOO_MANY or status >= _SERVER or _code(error) == "RequestTimeout"
    return isinstance(
        error,
        exceptions.HTTPClientError
        | exceptions.ConnectionError
        | exceptions.IncompleteReadError
        | exceptions.ChecksumError
        | exceptions.FlexibleChecksumError,
    )


def _status(error: Exception) -> int:
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _words(error: Exception) -> str:
    message = str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))
    return ": ".join(filter(None, (_code(error), message))) or str(error)


def _why_not_listed(error: Exception) -> str:
    if _code(error) == "NoSuchBucket":
        return "there is no such bucket; check its name, and AWS_ENDPOINT_URL for another store than Amazon's"
    if _code(error) == "AccessDenied":
        return "these credentials may not (AccessDenied); they need s3:ListBucket and s3:GetObject"
    return f"the store answers {_words(error)}; run again later"
