"""From a bucket to obstore's store: endpoint, credentials, timeouts, retries."""

import datetime
import functools
import os
from typing import Any

from mnist_estimator.storage import _paths
from mnist_estimator.storage._errors import InputError

_RETRIES = 10


def of(location: _paths.Location) -> Any:
    """Return the store of a location's bucket; one for each bucket and process."""
    return _open(location.scheme, location.bucket, os.getpid())


@functools.cache
def _open(scheme: str, bucket: str, pid: int) -> Any:
    try:
        from obstore import store as stores
    except ImportError:
        raise InputError(
            f"{scheme}:// needs obstore, which is not installed: "
            "pip install 'mnist_estimator[storage]'"
        ) from None
    if scheme == "memory":
        return stores.MemoryStore()
    options = {"client_options": _client(), "retry_config": _retries()}
    if scheme == "s3":
        return stores.S3Store(bucket, **options)
    if scheme == "gs":
        return stores.GCSStore(bucket, **options)
    if scheme in ("http", "https"):
        return stores.HTTPStore(f"{scheme}://{bucket}", **options)
    container, _, account = bucket.partition("@")
    named = {"account_name": account.partition(".")[0]} if account else {}
    return stores.AzureStore(container, **named, **options)


def _client() -> dict[str, Any]:
    allow = any(
        os.environ.get(name, "").lower() in ("1", "true")
        for name in ("AWS_ALLOW_HTTP", "ALLOW_HTTP")
    )
    return {"connect_timeout": "5s", "timeout": "120s", "read_timeout": "30s", "allow_http": allow}


def _retries() -> dict[str, Any]:
    seconds = functools.partial(datetime.timedelta, seconds=1)
    return {
        "max_retries": _RETRIES,
        "retry_timeout": 120 * seconds(),
        "backoff": {"init_backoff": 0.1 * seconds(), "max_backoff": 10 * seconds(), "base": 2},
    }
