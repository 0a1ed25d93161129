"""What an S3 server's answer means: try again, or what a person has to put right.

Knows the protocol's error codes and botocore's exceptions; makes no requests.
"""

from __future__ import annotations

import asyncio
import errno
import re

import aiohttp
from botocore import exceptions as boto

from tasks.errors import RemasterError, StoreDamaged, StoreError, StoreFull, UsageError

# A name and a password in an endpoint's or a proxy's URL.
_PASSWORD = re.compile(r"//[^/@\s]*@")


class ConditionFailed(Exception):
    """The condition of a request (If-Match, If-None-Match) did not hold. Does not leave this package."""


class Torn(Exception):
    """Other bytes came than were once written. Does not leave this package."""


class Unreachable(StoreError):
    """Nothing answers at the endpoint."""


_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE."
_ENDPOINT = "Check AWS_ENDPOINT_URL (unset means Amazon's own)."
_REGION = "The bucket is in another region. Set AWS_REGION to it."
_EXPIRED = "The credentials have expired. Log in again, or renew AWS_SESSION_TOKEN."
_NO_BUCKET = "There is no such bucket. Make it, or correct its name."

# What a person has to do, by the server's code. Trying again does not help with any of these.
_REMEDIES = {
    "InvalidAccessKeyId": f"The server does not know this access key. {_KEYS}",
    "SignatureDoesNotMatch": f"The secret key is wrong. {_KEYS}",
    "InvalidToken": "The session token is wrong. Renew AWS_SESSION_TOKEN, or unset it.",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": "This machine's clock is wrong. Set it.",
    "AccessDenied": f"The credentials are not allowed to do this. Grant them the permission. {_KEYS}",
    # A HEAD has no body to say more in; where listing is forbidden, an absent object is answered like this too.
    "403": f"The server refuses these credentials. {_KEYS} They need permission to read, write, delete and list.",
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": "This is not a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens.",
    "KeyTooLongError": "The name is longer than the 1024 bytes S3 allows.",
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": f"The server lacks a part of S3 that is needed. {_ENDPOINT}",
    "MethodNotAllowed": f"What answers there is not an S3 server. {_ENDPOINT}",
    "405": f"What answers there is not an S3 server. {_ENDPOINT}",
}

# Refusals in the 400s that are the moment's fault.
_PASSING = {
    "RequestTimeout",
    "BadDigest",
    "IncompleteBody",
    "InvalidPart",
    "XAmzContentSHA256Mismatch",
    "OperationAborted",
    "ConditionalRequestConflict",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "TooManyRequestsException",
    "409",
    "429",
}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"}

# What botocore finds wrong before it sends anything, or with how the connection is set up.
_SETTINGS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.UnknownCredentialError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
    boto.InvalidConfigError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.LoginError,
    boto.SSLError,
    boto.ValidationError,
    boto.ParamValidationError,
    boto.BaseEndpointResolverError,
    boto.EndpointProviderError,
    boto.InvalidEndpointConfigurationError,
)
_UNREACHABLE = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
# OSError is how s3fs hands on codes it does not know, and what a broken socket raises.
_BROKEN = (boto.BotoCoreError, aiohttp.ClientError, asyncio.TimeoutError, OSError)


def explain(error: Exception, doing: str) -> Exception:
    """The error to raise for one that a request raised; `doing` says what was tried, on what.

    Our own errors, FileNotFoundError, and errors that are not the storage's come back as they are.
    """
    response = _response(error)
    if response is not None:
        return _explain_answer(error, response, doing)
    if isinstance(error, RemasterError | ConditionFailed | FileNotFoundError):
        return error
    said = _PASSWORD.sub("//", str(error))
    if isinstance(error, Torn):
        return StoreDamaged(f"{doing}: other bytes came than were written there.")
    if isinstance(error, _SETTINGS):
        return UsageError(f"{doing}: {said} Check the AWS_* variables and the profile.")
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return UsageError(f"{doing}: {said}. {_ENDPOINT}")
    if isinstance(error, _UNREACHABLE) and not _was_connected(error):
        return Unreachable(f"{doing}: nothing answers ({said}). {_ENDPOINT}")
    if isinstance(error, _BROKEN):
        return StoreError(f"{doing}: the connection failed ({type(error).__name__}: {said}).")
    return error


def _was_connected(error: Exception) -> bool:
    """True for a connection that was made and then broke, which aiobotocore calls an endpoint that is not there."""
    cause = getattr(error, "kwargs", {}).get("error")
    return isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, aiohttp.ClientConnectorError)


def has_answer(error: Exception) -> bool:
    """True if a server said something, whatever it was."""
    return _response(error) is not None


def _response(error: Exception) -> dict[str, dict[str, object]] | None:
    """The answer behind an error; s3fs keeps it one step down."""
    for each in (error, error.__cause__):
        if isinstance(each, boto.ClientError):
            response: dict[str, dict[str, object]] = each.response
            return response
    return None


def _explain_answer(error: Exception, response: dict[str, dict[str, object]], doing: str) -> Exception:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))
    said = f"{doing}: {code} {response.get('Error', {}).get('Message', '')}".rstrip(" .") + "."
    if code in _FULL or status == 507:
        return StoreFull(f"{said} No space left there. Free some, or use another store.")
    if code in ("PreconditionFailed", "412"):
        return ConditionFailed(said)
    if code in _PASSING:
        return StoreError(said)
    if code in _REMEDIES:
        return UsageError(f"{said} {_REMEDIES[code]}")
    if status == 404:
        return FileNotFoundError(errno.ENOENT, said)
    if status in (401, 403):
        return UsageError(f"{said} {_REMEDIES['403']}")
    if status == 501:
        return UsageError(f"{said} {_REMEDIES['NotImplemented']}")
    if 400 <= status < 500 and status not in (408, 409, 416, 425, 429):
        return UsageError(f"{said} The server does not accept the request. {_ENDPOINT}")
    return StoreError(said)


def no_bucket(bucket: str) -> UsageError:
    """For when a server only says 404."""
    return UsageError(f"s3://{bucket}: {_NO_BUCKET}")
