"""Objects of an S3 store below one address: listed, read, and written on a condition.

Credentials are found as every AWS tool finds them: environment, `~/.aws`, `AWS_PROFILE`; `AWS_ENDPOINT_URL` names a
store other than Amazon's. Where there are none, botocore asks the metadata service of an EC2 machine, at
169.254.169.254; `AWS_EC2_METADATA_DISABLED=true` stops that. Nothing else but the store is ever asked.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Self

from sidcurate.errors import IntegrityError, MissingResourceError, UsageError
from sidcurate.places.patience import Patience

SCHEME = "s3://"
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_CONNECT_S, _ANSWER_S = 10, 60
_CONDITION_FAILED, _TOO_MANY, _SERVER = 412, 429, 500
_NO_OBJECT = "NoSuchKey"
_PASSING = {"RequestTimeout", "ConditionalRequestConflict"}
# The store knows who asks, and lets nobody of that name in.
_NOT_ADMITTED = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
    *("RequestTimeTooSkewed", "AuthorizationHeaderMalformed"),
}


class Found(NamedTuple):
    """The bytes of an object, and the ETag that names this version of it."""

    content: bytes
    etag: str


@dataclass(frozen=True)
class Objects:
    """The objects below a prefix of a bucket; `prefix` is empty or ends with a slash."""

    bucket: str
    prefix: str = ""
    patience: Patience = field(default=Patience(), compare=False)

    @classmethod
    def at(cls, url: str) -> Self:
        """Return those that a URL names.

        Raises:
            UsageError: it is no such URL.
            MissingResourceError: the client of object stores is not installed.
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise UsageError(f"{url!r} names no bucket; write s3://bucket or s3://bucket/prefix")
        _require_s3_extra()
        prefix = (found[2] or "").strip("/")
        return cls(found[1], prefix and f"{prefix}/")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The URL."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def listed(self, below: str = "") -> Iterator[Any]:
        """Yield what the listing says of each object whose path begins in a way.

        Raises:
            UsageError: the bucket is missing, or may not be listed.
            MissingResourceError: the store does not answer, or does not know who asks.
        """
        more: dict[str, str] = {}
        while True:
            page = self.page(below, **more)
            yield from page.get("Contents", ())
            if not page["IsTruncated"]:
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def page(self, below: str = "", **which: Any) -> Any:  # noqa: ANN401 - boto3's answers are dictionaries
        """Return one page of the listing; errors as `listed`."""
        try:
            return self.patience.ask(
                self.name,
                lambda: client().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + below, **which),
                is_passing,
            )
        except errors() as error:
            self.raise_if_of_all(error)
            raise self._refusal("listed", error) from error

    def get(self, path: str, **how: str) -> bytes:
        """Return the bytes of an object, asked for anew where the store was busy or cut its answer short.

        Raises:
            ClientError, BotoCoreError: the store does not give it; see `raise_if_of_all`.
        """

        def get() -> bytes:
            with closing(client().get_object(Bucket=self.bucket, Key=self.prefix + path, **how)["Body"]) as body:
                content: bytes = body.read()
            return content

        return self.patience.ask(path, get, is_passing)

    def find(self, path: str, most_bytes: int) -> Found | None:
        """Return an object of ours, None where there is none.

        Raises:
            IntegrityError: it is larger than it can be.
            UsageError: the bucket is missing, or the store does not give the object.
            MissingResourceError: the store does not answer, or does not know who asks.
        """
        try:
            return self.patience.ask(path, lambda: self._bounded(path, most_bytes), is_passing)
        except errors() as error:
            self.raise_if_of_all(error)
            if _code(error) == _NO_OBJECT:
                return None
            raise self._refusal("read", error) from error

    def put(self, path: str, content: bytes, replaces: str | None = None) -> bool:
        """Write an object on a condition; return whether it held.

        A try whose answer was lost may have written it, so that the next one finds the condition broken by itself.

        Args:
            path: which object.
            content: its bytes.
            replaces: the ETag of the object that is there now; none may be there without.

        Raises:
            UsageError: the bucket is missing, or may not be written to.
            MissingResourceError: the store does not answer, or does not know who asks.
        """
        condition = {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
        where = {"Bucket": self.bucket, "Key": self.prefix + path}
        try:
            self.patience.ask(path, lambda: client().put_object(**where, Body=content, **condition), is_passing)
        except errors() as error:
            self.raise_if_of_all(error)
            if status(error) == _CONDITION_FAILED or _code(error) == _NO_OBJECT:
                return False
            raise self._refusal("written to", error) from error
        return True

    def raise_if_of_all(self, error: Exception) -> None:
        """Raise an error of ours where whatever is asked next would fail for the same reason."""
        from botocore import exceptions

        if isinstance(error, exceptions.ConnectionError):
            raise MissingResourceError(
                f"{self.name} cannot be reached ({words(error)}); check the network, and AWS_ENDPOINT_URL, which "
                "names a store other than Amazon's, then run again: what was done is kept"
            ) from error
        answered = isinstance(error, exceptions.ClientError) and _code(error) not in _NOT_ADMITTED
        if not answered and not is_passing(error):
            raise MissingResourceError(
                f"{self.name} cannot be asked ({words(error)}); give credentials: run `aws configure`, or set "
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Then run again: what was done is kept"
            ) from error

    def _bounded(self, path: str, most_bytes: int) -> Found:
        answer = client().get_object(Bucket=self.bucket, Key=self.prefix + path)
        with closing(answer["Body"]) as body:
            content: bytes = body.read(most_bytes + 1)
            if len(content) > most_bytes:
                raise IntegrityError(
                    f"{self.name}/{path} has more than the {most_bytes} bytes that are read of such a file; delete it "
                    "there, and push again from where the manifest is whole"
                )
            body.read(1)  # At the end the client sees whether as much has come as was announced.
        return Found(content, answer["ETag"])

    def _refusal(self, what: str, error: Exception) -> UsageError:
        return UsageError(f"{self.name} cannot be {what}: {_why(error)}")


@cache
def client() -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    """Return the client of this process. It never asks again by itself: `Patience` covers a cut answer too."""
    _require_s3_extra()
    import boto3
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1}, connect_timeout=_CONNECT_S, read_timeout=_ANSWER_S)
    try:
        return boto3.Session().client("s3", config=once)
    except ValueError as error:
        raise MissingResourceError(f"AWS_ENDPOINT_URL is no address of a store ({error}); mend it") from error


def errors() -> tuple[type[Exception], ...]:
    """Return what botocore raises: two trees."""
    _require_s3_extra()
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def is_passing(error: Exception) -> bool:
    """Return whether a failure may be over at the next try: a busy store, a cut or silent line."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return status(error) == _TOO_MANY or status(error) >= _SERVER or _code(error) in _PASSING
    return isinstance(
        error,
        exceptions.HTTPClientError
        | exceptions.ConnectionError
        | exceptions.IncompleteReadError
        | exceptions.ChecksumError
        | exceptions.FlexibleChecksumError,
    )


def status(error: Exception) -> int:
    """Return the status that a store answered with, 0 where it did not answer."""
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def words(error: Exception) -> str:
    """Return what a store or its client says of a failure."""
    message = str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))
    return ": ".join(filter(None, (_code(error), message))) or str(error)


def _require_s3_extra() -> None:
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


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _why(error: Exception) -> str:
    if _code(error) == "NoSuchBucket":
        return "there is no such bucket; check its name, and AWS_ENDPOINT_URL for another store than Amazon's"
    if _code(error) == "AccessDenied":
        return (
            "these credentials may not (AccessDenied); they need s3:ListBucket and s3:GetObject, to push s3:PutObject"
        )
    return f"the store answers {words(error)}; run again later"
