"""Errors as TensorFlow's codes, and without secrets."""

import pytest
from obstore import exceptions

from mnist_estimator import InputError, RunError
from mnist_estimator.storage import _errors, _paths

HTTP = "Generic S3 error: Error performing GET {url} in 1ms - Server returned non-2xx status code: "


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError("x"), _errors.NOT_FOUND),
        (FileExistsError("x"), _errors.ALREADY_EXISTS),
        (PermissionError("x"), _errors.PERMISSION_DENIED),
        (IsADirectoryError("x"), _errors.FAILED_PRECONDITION),
        (ConnectionResetError("x"), _errors.UNAVAILABLE),
        (_paths.PathError("x"), _errors.INVALID_ARGUMENT),
        (_errors.ChangedError("x"), _errors.ABORTED),
        (_errors.ReadOnlyError("x"), _errors.UNIMPLEMENTED),
        (InputError("x"), _errors.FAILED_PRECONDITION),
        (RunError("x"), _errors.FAILED_PRECONDITION),
        (exceptions.PermissionDeniedError("x"), _errors.PERMISSION_DENIED),
        (exceptions.UnauthenticatedError("x"), _errors.PERMISSION_DENIED),
        (exceptions.AlreadyExistsError("x"), _errors.ALREADY_EXISTS),
        (exceptions.PreconditionError("x"), _errors.ABORTED),
        (exceptions.NotSupportedError("x"), _errors.UNIMPLEMENTED),
        (exceptions.GenericError(HTTP + "500 Internal Server Error"), _errors.UNAVAILABLE),
        (exceptions.GenericError(HTTP + "501 Not Implemented"), _errors.UNIMPLEMENTED),
        (exceptions.GenericError(HTTP + "429 Too Many Requests"), _errors.RESOURCE_EXHAUSTED),
        (exceptions.GenericError(HTTP + "404 Not Found"), _errors.NOT_FOUND),
        (OSError(HTTP + "403 Forbidden"), _errors.PERMISSION_DENIED),
        (exceptions.GenericError("HTTP error: error sending request"), _errors.UNAVAILABLE),
        (exceptions.GenericError("something else"), _errors.UNKNOWN),
        (ValueError("x"), _errors.INVALID_ARGUMENT),
        (KeyError("x"), _errors.UNKNOWN),
    ],
)
def test_each_error_has_a_code(error, code):
    assert _errors.code_of(error) == code


def test_an_error_is_one_line_without_what_obstore_adds_for_its_developers():
    error = exceptions.GenericError("first\nline\n\nDebug source:\nGeneric { x }")
    assert _errors.text_of(error) == "first line"


def test_an_error_without_words_says_its_kind():
    assert _errors.text_of(MemoryError()) == "MemoryError"


def test_of_a_server_s_answer_the_code_and_the_message_stay():
    xml = "<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>"
    xml += "<AWSAccessKeyId>AKIAX</AWSAccessKeyId><StringToSign>GET /</StringToSign></Error>"
    text = _errors.text_of(exceptions.GenericError(f"403 Forbidden: {xml}"))
    assert text == "403 Forbidden: SignatureDoesNotMatch: no"


@pytest.mark.parametrize(
    "text",
    [
        "GET http://user:hunter2222@host/b/k failed",
        "GET https://host/b/k?X-Amz-Signature=hunter2222&x=1 in 2 s",
        "GET https://acc.blob.core.windows.net/c/k?sv=1&sig=hunter2222",
    ],
)
def test_urls_show_no_password_and_no_signature(text):
    shown = _errors.redacted(text)
    assert "hunter2222" not in shown
    assert "host/" in shown or "windows.net/" in shown


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_CLIENT_SECRET",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
    ],
)
def test_secrets_of_the_environment_stand_in_no_message(monkeypatch, name):
    monkeypatch.setenv(name, "hunter2222")
    assert _errors.text_of(RuntimeError("it was hunter2222")) == "it was ***"


def test_a_container_before_an_account_is_no_password():
    assert _errors.redacted("abfs://cont@acc.net/a") == "abfs://cont@acc.net/a"


def test_a_key_may_hold_what_would_be_a_signature_in_a_url():
    assert _errors.redacted_urls("s3://b/is it?.csv, az://c/a@b") == "s3://b/is it?.csv, az://c/a@b"


def test_a_remembered_secret_stands_in_no_message():
    _errors.remember_secret("from-a-profile")
    assert _errors.text_of(RuntimeError("from-a-profile")) == "***"
