"""Settings from the environment: read strictly, refused in one line, never repeating a value."""

from pathlib import Path
from typing import ClassVar

import pytest

from flotilla.chassis.settings import ServiceSettings, environment_names, load_settings
from flotilla.contracts.errors import SettingsError

MARK = "sk-never-to-be-shown"


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """A service's settings with one that is needed and one under a foreign name."""

    __foreign__: ClassVar[dict[str, str]] = {"model_host": "MODEL_HOST"}

    pool: str
    slots: int = 4
    model_host: str = ""


def test_a_field_is_read_from_its_name_in_capitals():
    """
    Numbers and paths become what the field is; what nobody set keeps its default.
    """
    environ = {
        "FLOTILLA_POOL": "p",
        "FLOTILLA_GRACE_S": "2.5",
        "FLOTILLA_HTTP_PORT": "0",
        "FLOTILLA_NATS_CREDS": "/seeds/orchestrator",
        "MODEL_HOST": "http://models",
        "PATH": "/bin",
    }

    settings = load_settings(Settings, environ)

    assert "p" == settings.pool
    assert 2.5 == settings.grace_s
    assert 0 == settings.http_port
    assert Path("/seeds/orchestrator") == settings.nats_creds
    assert "http://models" == settings.model_host
    assert 4 == settings.slots
    assert "nats://127.0.0.1:4222" == settings.nats_url


def test_an_empty_value_counts_as_none():
    """
    Manifests write `FLOTILLA_HTTP_PORT: ""` to say that there is none.
    """
    settings = load_settings(Settings, {"FLOTILLA_POOL": "p", "FLOTILLA_HTTP_PORT": "", "FLOTILLA_SLOTS": ""})

    assert settings.http_port is None
    assert 4 == settings.slots


def test_standard_names_of_others_are_none_of_its_business():
    """
    OTEL_* is read by the tracing; it is no misspelt option.
    """
    environ = {"FLOTILLA_POOL": "p", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SERVICE_NAME": "x"}

    assert "p" == load_settings(Settings, environ).pool


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"FLOTILLA_POOL": "p", "FLOTILLA_SLOT": "4"}, "unknown setting FLOTILLA_SLOT; known are "),
        ({"FLOTILLA_POOL": "p", "FLOTILLA_MODEL_HOST": "x"}, "unknown setting FLOTILLA_MODEL_HOST; known are "),
        ({}, "setting FLOTILLA_POOL is missing"),
        ({"FLOTILLA_POOL": ""}, "setting FLOTILLA_POOL is missing"),
        ({"FLOTILLA_POOL": "p", "FLOTILLA_SLOTS": MARK}, "setting FLOTILLA_SLOTS: Expected a whole number, got text"),
        (
            {"FLOTILLA_POOL": "p", "FLOTILLA_HTTP_PORT": "70000"},
            "setting FLOTILLA_HTTP_PORT: Expected a whole number of at most 65535",
        ),
        ({"FLOTILLA_POOL": "p", "FLOTILLA_GRACE_S": "-1"}, "setting FLOTILLA_GRACE_S: Expected a number of at least 0"),
        ({"FLOTILLA_POOL": "p", "FLOTILLA_LOG_LEVEL": MARK}, "setting FLOTILLA_LOG_LEVEL: Expected debug, info"),
        *(
            ({"FLOTILLA_POOL": "p", "FLOTILLA_NATS_URL": url}, "setting FLOTILLA_NATS_URL: expected nats://HOST:PORT")
            for url in (MARK, f"http://{MARK}", "nats://", "nats://:4222", "nats://h:port", "nats://[::1", "nats://a,")
        ),
        ({"FLOTILLA_POOL": "p", "FLOTILLA_INSTANCE": "a b"}, "setting FLOTILLA_INSTANCE: Expected 1 to 63 of A-Z"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_setting_is_named_in_one_line(environ: dict[str, str], expected: str):
    """
    With what was expected, and never with the value: it may be a secret.
    """
    with pytest.raises(SettingsError) as refused:
        load_settings(Settings, environ)

    text = str(refused.value)
    assert text.startswith(expected)
    assert "\n" not in text
    assert MARK not in text


@pytest.mark.parametrize("url", ["nats://a", "tls://u:p@a:1", "nats://[::1]:4222", "nats://a:1, nats://b:2"])
def test_a_url_needs_a_scheme_and_a_host(url: str):
    """
    The port is 4222 where there is none; spaces after the commas do no harm.
    """
    assert url == load_settings(Settings, {"FLOTILLA_POOL": "p", "FLOTILLA_NATS_URL": url}).nats_url


@pytest.mark.parametrize(
    ("setting", "content", "reason"),
    [
        ("FLOTILLA_NATS_CREDS", None, "No such file or directory"),
        ("FLOTILLA_NATS_CREDS", MARK, "not a seed"),
        ("FLOTILLA_NATS_TLS_CA", None, "No such file or directory"),
    ],
)
def test_a_file_to_connect_with_that_cannot_be_used_is_named(
    tmp_path: Path, setting: str, content: str | None, reason: str
):
    """
    By its setting, and without what is in it.
    """
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    settings = load_settings(Settings, {"FLOTILLA_POOL": "p", setting: str(file)})

    with pytest.raises(SettingsError) as refused:
        settings.check_files()

    assert f"setting {setting}: {reason}" == str(refused.value)


def test_the_names_that_a_service_reads_can_be_listed():
    """
    Manifests are checked against this list.
    """
    names = environment_names(Settings)

    assert {"FLOTILLA_POOL", "FLOTILLA_NATS_URL", "MODEL_HOST"} <= names
    assert "FLOTILLA_MODEL_HOST" not in names


def test_the_connection_gets_what_the_settings_say():
    """
    With the inbox prefix of the role, which is no setting.
    """
    environ = {"FLOTILLA_POOL": "p", "FLOTILLA_NATS_URL": "tls://a:1,tls://b:2", "FLOTILLA_NATS_TLS_CA": "/ca.pem"}
    nats = load_settings(Settings, environ).nats("_INBOX.role")

    assert ("tls://a:1,tls://b:2", Path("/ca.pem"), "_INBOX.role") == (nats.url, nats.tls_ca, nats.inbox_prefix)
