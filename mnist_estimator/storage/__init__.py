"""Object stores as filesystems of TensorFlow: S3, Google Cloud Storage, Azure, HTTPS, memory.

After `install()` every function of TensorFlow that takes a path takes s3://bucket/key too. Nothing
here is imported before it is used.
"""

from mnist_estimator.storage import _gs, _postponing
from mnist_estimator.storage._errors import ChangedError, UnconditionalError, redacted_urls
from mnist_estimator.storage._paths import SCHEMES, scheme_of
from mnist_estimator.storage._transfers import told_to as transfers_told_to


def is_ours(path: str) -> bool:
    """Say whether a filesystem of this package serves the path, now that it is installed."""
    scheme = scheme_of(path)
    if scheme not in SCHEMES:
        return False
    from mnist_estimator.storage import _plugin

    return scheme in _plugin.installed()


def install(*, gs: bool | None = None) -> frozenset[str]:
    """Make the stores' schemes known to TensorFlow in this process, and return those now served.

    It may be called again. A scheme that TensorFlow knows already stays as it is.

    Args:
      gs: serve gs:// too, which takes that TensorFlow is not imported yet. By default only where
        STORAGE_EMULATOR_HOST or GOOGLE_BASE_URL names another server than Google's.

    Raises:
      InputError: the part in C was not built, or gs:// cannot be had any more.
    """
    from mnist_estimator.storage import _plugin

    return _plugin.install(gs=gs)


def install_for(*paths: str) -> None:
    """Install what the paths need; nothing is imported where none of them is in a store.

    Raises:
      InputError: obstore is not installed, or as `install` says.
    """
    schemes = {scheme_of(path) for path in paths if path} & set(SCHEMES)
    if "gs" in schemes and not _gs.emulator():
        schemes.remove("gs")  # TensorFlow's own serves it.
    if schemes:
        from mnist_estimator.storage import _stores

        _stores.check_installed(min(schemes))
        install(gs=True if "gs" in schemes else None)


def before_tensorflow(*paths: str) -> None:
    """Tell TensorFlow, before its import, to leave gs:// to `install_for` where a path needs it."""
    if any(scheme_of(path) == "gs" for path in paths if path) and _gs.emulator():
        import importlib.util

        from mnist_estimator.storage import _abi

        # Else nobody would serve it.
        if importlib.util.find_spec("obstore") and _abi.shim_path():
            _gs.reserve()


def read_version(path: str) -> tuple[bytes, str] | None:
    """Return an object's content and its version, or None where there is no object."""
    from mnist_estimator.storage import _conditional

    return _conditional.read_version(path)


def write_if(path: str, content: bytes, version: str | None) -> str:
    """Write an object if it has this version, or if there is none (None); return the new version.

    Raises:
      ChangedError: the object has another version.
      UnconditionalError: the store does not keep to conditions.
    """
    from mnist_estimator.storage import _conditional

    return _conditional.write_if(path, content, version)


def postpone_signal(number: int) -> bool:
    """Raise a signal again later, if TensorFlow is calling a filesystem in this thread.

    A handler that raises calls it first: an exception cannot pass through TensorFlow's C++. The
    signal is raised again as soon as TensorFlow has returned.

    Returns:
      Whether it is postponed; if not, the handler may raise.
    """
    return _postponing.postpone(number)


__all__ = [
    "SCHEMES",
    "ChangedError",
    "UnconditionalError",
    "before_tensorflow",
    "install",
    "install_for",
    "is_ours",
    "postpone_signal",
    "read_version",
    "redacted_urls",
    "scheme_of",
    "transfers_told_to",
    "write_if",
]
