"""AWS's own configuration files."""

import json
import sys

import pytest

from mnist_estimator import InputError
from mnist_estimator.storage import _aws_profile, _errors


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """The two files, and no other setting of AWS's."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "DEFAULT_PROFILE", "REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("DEFAULT_REGION", "ENDPOINT_URL", "WEB_IDENTITY_TOKEN_FILE", "SKIP_SIGNATURE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    credentials, config = tmp_path / "credentials", tmp_path / "config"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return credentials, config


def section(name, **fields):
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


KEYS = {"aws_access_key_id": "AK", "aws_secret_access_key": "sec%ret/+="}
GIVEN = {"access_key_id": "AK", "secret_access_key": "sec%ret/+="}


def test_no_files_say_nothing():
    assert _aws_profile.settings() == {}


def test_the_default_profile_is_read(files):
    files[0].write_text(section("default", **KEYS))
    files[1].write_text(section("default", region="eu-1", endpoint_url="http://host"))
    assert _aws_profile.settings() == {**GIVEN, "region": "eu-1", "endpoint": "http://host"}
    assert _errors.redacted("sec%ret/+=") == "***"


def test_the_profile_of_the_environment_is_read(files, monkeypatch):
    files[0].write_text(section("default") + section("mine", **KEYS, aws_session_token="tok-en"))
    files[1].write_text(section("profile mine", region="eu-2"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert _aws_profile.settings() == {**GIVEN, "session_token": "tok-en", "region": "eu-2"}


def test_the_environment_comes_before_a_profile(files, monkeypatch):
    files[0].write_text(section("default", **KEYS))
    files[1].write_text(section("default", region="eu-1", endpoint_url="http://host"))
    monkeypatch.setenv("AWS_REGION", "eu-9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other")
    assert _aws_profile.settings() == GIVEN
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    assert _aws_profile.settings() == {}


def test_a_profile_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "typo")
    with pytest.raises(InputError, match="AWS_PROFILE=typo"):
        _aws_profile.settings()


def test_a_file_of_another_kind_is_named_without_its_content(files):
    files[0].write_text("hunter2222\n")
    with pytest.raises(InputError, match="credentials") as raised:
        _aws_profile.settings()
    assert "hunter2222" not in str(raised.value)


@pytest.mark.parametrize("field", ["role_arn", "sso_session"])
def test_a_profile_of_a_role_is_refused_with_the_way_out(files, monkeypatch, field):
    files[1].write_text(section("profile p", **{field: "x"}))
    monkeypatch.setenv("AWS_PROFILE", "p")
    with pytest.raises(InputError, match="export-credentials --profile p"):
        _aws_profile.settings()


def test_a_credential_process_is_run_when_credentials_are_needed(files, tmp_path):
    answer = {"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": "from-process"}
    answer |= {"SessionToken": "tok-en", "Expiration": "2030-01-02T03:04:05Z"}
    (tmp_path / "answer").write_text(json.dumps(answer))
    code = f"print(open({str(tmp_path / 'answer')!r}).read())"
    files[1].write_text(section("default", credential_process=f'{sys.executable} -c "{code}"'))
    found = _aws_profile.settings()["credential_provider"]()
    assert found["secret_access_key"] == "from-process" and found["token"] == "tok-en"
    assert found["expires_at"].year == 2030 and found["expires_at"].tzinfo
    assert _errors.redacted("from-process") == "***"


def test_a_credential_process_that_fails_shows_no_output(files):
    code = "import sys; sys.exit('hunter2222')"
    files[1].write_text(section("default", credential_process=f'{sys.executable} -c "{code}"'))
    with pytest.raises(InputError, match="credential_process") as raised:
        _aws_profile.settings()["credential_provider"]()
    assert "hunter2222" not in str(raised.value)
