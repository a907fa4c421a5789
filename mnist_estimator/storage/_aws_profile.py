"""What a profile of AWS's own configuration files says: ~/.aws/credentials and ~/.aws/config.

obstore reads the environment and asks an instance, a container or an identity provider; of
these files it knows nothing.
"""

import configparser
import datetime
import json
import os
import pathlib
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.storage import _errors

# Where one of these is set, the environment says who this is, and a profile has no say.
_OF_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
_PROCESS_SECONDS = 60


def settings() -> dict[str, Any]:
    """Return what S3Store takes: credentials, region and endpoint of the profile, if there is one.

    Raises:
      InputError: the profile that AWS_PROFILE names is not there, or is of a kind not read here.
    """
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or ""
    if any(os.environ.get(each) for each in _OF_ENVIRONMENT):
        return {}
    profile = _read(name or "default")
    if profile is None:
        if name:
            raise InputError(f"AWS_PROFILE={name} is in neither ~/.aws/credentials nor config")
        return {}
    found = {"region": profile.get("region"), "endpoint": profile.get("endpoint_url")}
    if any(os.environ.get(each) for each in ("AWS_REGION", "AWS_DEFAULT_REGION")):
        del found["region"]
    if any(name.startswith("AWS_ENDPOINT") for name in os.environ):
        del found["endpoint"]
    return {key: value for key, value in found.items() if value} | _credentials(name, profile)


def _read(name: str) -> dict[str, str] | None:
    home = pathlib.Path.home() / ".aws"
    places = {
        "AWS_CONFIG_FILE": (home / "config", name if name == "default" else f"profile {name}"),
        "AWS_SHARED_CREDENTIALS_FILE": (home / "credentials", name),
    }
    found: dict[str, str] = {}
    for variable, (place, section) in places.items():
        # Without interpolation: a secret may hold "%".
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        path = os.environ.get(variable) or str(place)
        try:
            parser.read(os.path.expanduser(path), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            # What the parser says of a line would show the line.
            raise InputError(f"{path} is not a file as AWS's tools write it") from None
        if parser.has_section(section):
            found.update(parser[section])
    return found or None


def _credentials(name: str, profile: dict[str, str]) -> dict[str, Any]:
    keys = {
        "access_key_id": profile.get("aws_access_key_id"),
        "secret_access_key": profile.get("aws_secret_access_key"),
        "session_token": profile.get("aws_session_token"),
    }
    if "role_arn" not in profile and keys["access_key_id"] and keys["secret_access_key"]:
        given = {key: value for key, value in keys.items() if value}
        for value in given.values():
            _errors.remember_secret(value)
        return given
    if "credential_process" in profile:
        return {"credential_provider": _from_process(profile["credential_process"])}
    if {"role_arn", "sso_session", "sso_start_url"} & set(profile):
        shown = name or "default"
        raise InputError(
            f"the AWS profile {shown} is one of a role or of a sign-on, which is not read here; "
            f'run: eval "$(aws configure export-credentials --profile {shown} --format env)"'
        )
    return {}


def _from_process(command: str) -> Callable[[], dict[str, Any]]:
    """Return what obstore calls for credentials, again when they expire."""

    def provide() -> dict[str, Any]:
        try:
            words = shlex.split(command)
            done = subprocess.run(words, capture_output=True, timeout=_PROCESS_SECONDS, check=True)
            found = json.loads(done.stdout)
            key, secret = found["AccessKeyId"], found["SecretAccessKey"]
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            kind = type(error).__name__
            # Its output may hold what it should not.
            raise InputError(f"credential_process of the AWS profile failed: {kind}") from None
        for value in (secret, found.get("SessionToken") or ""):
            _errors.remember_secret(value)
        expires = found.get("Expiration")
        return {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": found.get("SessionToken"),
            "expires_at": expires
            and datetime.datetime.fromisoformat(expires.replace("Z", "+00:00")),
        }

    return provide
