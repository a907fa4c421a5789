"""From a bucket to obstore's store: endpoint, credentials, timeouts, retries."""

import base64
import datetime
import importlib.util
import os
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

from mnist_estimator import InputError, RunError
from mnist_estimator.storage import _aws_profile, _errors, _gs, _paths

# A request that is answered with 429 or 5xx, or whose connection is cut or silent, is sent again,
# after 0.1 s at first and 10 s at most, until this much time has passed. AWS signs for 5 minutes.
RETRY_SECONDS = 120
SILENCE_SECONDS = 30
# One part of an upload, or one range, over a slow line.
REQUEST_SECONDS = 300
CONNECT_SECONDS = 5

_lock = threading.Lock()
_stores: dict[tuple[str, str, str], Any] = {}
# obstore's threads are not in a process that is forked from the one that first used it.
_process: list[int] = []
# obstore reads those of the environment only where it is given no options at all.
_CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "read_timeout",
    "timeout",
    "user_agent",
)
_FLAGS = ("allow_http", "allow_invalid_certificates")


def of(location: _paths.Location) -> Any:
    """Return the store of a location's bucket, one for each bucket.

    Raises:
      InputError: obstore is not installed, or the environment's configuration is wrong.
      RunError: this process was forked from one that used a store.
    """
    if _process and _process[0] != os.getpid():
        raise RunError(
            "this process was forked from one that used object storage, which cannot go on here; "
            "start it with multiprocessing's method 'spawn' or 'forkserver'"
        )
    name = (location.scheme, location.bucket, location.query)
    with _lock:
        if name not in _stores:
            _stores[name] = _open(location)
            _process[:] = [os.getpid()]
        return _stores[name]


def check_installed(scheme: str) -> None:
    """Raise InputError where obstore is not installed; it is not imported for that."""
    if importlib.util.find_spec("obstore") is None:
        raise InputError(
            f"{scheme}:// needs obstore, which is not installed: "
            "pip install 'mnist_estimator[storage]'"
        )


def may_list_deleted_folders(location: _paths.Location) -> bool:
    """Say whether a listing may name a folder after all that was in it was deleted.

    SeaweedFS does (4.48); S3 itself has no folders to keep.
    """
    return location.scheme == "s3" and any(
        name in os.environ for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    )


def forget() -> None:
    """Open all stores anew at their next use; those of memory:// keep what they hold."""
    with _lock:
        for name in [name for name in _stores if name[0] != "memory"]:
            del _stores[name]


def _open(location: _paths.Location) -> Any:
    check_installed(location.scheme)
    import obstore.store

    try:
        return _OPENERS[location.scheme](obstore.store, location)
    except (InputError, RunError):
        raise
    except Exception as error:
        text = _errors.text_of(error)
        raise InputError(f"{location.scheme}://{location.bucket}: {text}") from None


def _memory(stores: Any, location: _paths.Location) -> Any:
    return stores.MemoryStore()


def _s3(stores: Any, location: _paths.Location) -> Any:
    return stores.S3Store(location.bucket, **_options("AWS"), **_aws_profile.settings())


def _google(stores: Any, location: _paths.Location) -> Any:
    emulator = _gs.emulator()
    if not emulator:
        return stores.GCSStore(location.bucket, **_options("GOOGLE"))
    options = _options("GOOGLE", allow_http=True)
    # It asks for no credentials, and to look for some would take long.
    return stores.GCSStore(location.bucket, base_url=emulator, bearer_token="none", **options)


def _azure(stores: Any, location: _paths.Location) -> Any:
    container, _, account = location.bucket.partition("@")
    named = _azure_connection()
    if account:
        named["account_name"] = account.partition(".")[0]
    plain = named.get("endpoint", "").startswith("http://")
    options = _options("AZURE", **({"allow_http": True} if plain else {}))
    return stores.AzureStore(container, **named, **options)


def _azure_connection() -> dict[str, str]:
    """What AZURE_STORAGE_CONNECTION_STRING says, which obstore does not read."""
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    fields = dict(each.split("=", 1) for each in text.split(";") if "=" in each)
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_key",
        "BlobEndpoint": "endpoint",
    }
    for field in ("AccountKey", "SharedAccessSignature"):
        _errors.remember_secret(fields.get(field, ""))
    return {name: fields[field] for field, name in names.items() if fields.get(field)}


def _http(stores: Any, location: _paths.Location) -> Any:
    # The query of the base is that of each request: a signature stays with its path.
    query = f"?{location.query}" if location.query else ""
    user, _, host = location.bucket.rpartition("@")
    given: dict[str, Any] = {"allow_http": location.scheme == "http"}
    if user:
        encoded = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        given["default_headers"] = {"authorization": f"Basic {encoded}"}
        _errors.remember_secret(encoded)
    for secret in (location.query, user.partition(":")[2]):
        _errors.remember_secret(secret)
    url = f"{location.scheme}://{host}/{query}"
    return stores.HTTPStore(url, **_options("HTTP", **given))


_OPENERS: dict[str, Callable[[Any, _paths.Location], Any]] = {
    "memory": _memory,
    "s3": _s3,
    "gs": _google,
    "az": _azure,
    "abfs": _azure,
    "abfss": _azure,
    "http": _http,
    "https": _http,
}


def _options(prefix: str, **given: Any) -> dict[str, Any]:
    seconds = datetime.timedelta(seconds=1)
    client = {
        "connect_timeout": CONNECT_SECONDS * seconds,
        "read_timeout": SILENCE_SECONDS * seconds,
        "timeout": REQUEST_SECONDS * seconds,
        **{name: value for name in _CLIENT_OPTIONS if (value := _of_environment(prefix, name))},
        **given,
    }
    retry = {
        # So many that the time decides.
        "max_retries": 1000,
        "retry_timeout": RETRY_SECONDS * seconds,
        "backoff": {"init_backoff": 0.1 * seconds, "max_backoff": 10 * seconds, "base": 2},
    }
    return {"client_options": client, "retry_config": retry}


def _of_environment(prefix: str, name: str) -> Any:
    value = os.environ.get(f"{prefix}_{name.upper()}", "")
    if name in _FLAGS:
        return value.lower() in ("1", "true", "yes", "on") or None
    return value
