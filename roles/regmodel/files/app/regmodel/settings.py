"""Settings from environment variables, and the defaults that MLflow's client gets before it is imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from regmodel.trust import DEFAULT, VARIABLE, allowed_from

T = TypeVar("T")

# MLflow's own defaults (7 retries, 120 s) would hide an outage from /ready for minutes. An operator can override them.
MLFLOW_CLIENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class SettingsError(ValueError):
    """One or more environment variables cannot be used; the message has one line for each."""


@dataclass(frozen=True)
class Settings:
    """What the service was told.

    poll_seconds: how often the alias is looked up.
    max_rows: rows accepted in one /predict request.
    api_key: what /predict and /model ask for, or None for an open service.
    public_url: where a proxy in front has it, or an empty text.
    allowed_flavors: which models may be loaded; see regmodel.trust.
    """

    tracking_uri: str
    model_name: str = "regmodel"
    alias: str = "champion"
    poll_seconds: float = 2.0
    max_rows: int = 10_000
    host: str = "0.0.0.0"  # a container listens on all of its interfaces
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    public_url: str = ""
    allowed_flavors: frozenset[str] = frozenset(DEFAULT)

    @property
    def prefix(self) -> str:
        """The path of the public URL, without a slash at its end."""
        return urlsplit(self.public_url).path.rstrip("/")


def settings_from_env(environ: Mapping[str, str]) -> Settings:
    """Read the settings; an empty variable counts as absent.

    MLFLOW_TRACKING_URI (required), REGMODEL_MODEL_NAME, REGMODEL_MODEL_ALIAS, REGMODEL_POLL_SECONDS (0.1 to 3600),
    REGMODEL_MAX_ROWS (1 to 1000000), REGMODEL_HOST, REGMODEL_PORT, REGMODEL_API_KEY_FILE, REGMODEL_PUBLIC_URL,
    REGMODEL_ALLOWED_FLAVORS.

    Raises SettingsError, which lists every problem found.
    """
    problems: list[str] = []

    def number(name: str, default: T, kind: Callable[[str], T], low: float, high: float) -> T:
        text = environ.get(name, "").strip()
        if not text:
            return default
        try:
            value = kind(text)
        except ValueError:
            problems.append(f"{name}={text!r} is not a number")
            return default
        if not low <= value <= high:  # type: ignore[operator]
            problems.append(f"{name}={text} is outside {low} to {high}")
        return value

    tracking_uri = environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not tracking_uri:
        problems.append("MLFLOW_TRACKING_URI is not set: give MLflow's URL, for example http://mlflow:5000")

    api_key = None
    if environ.get("REGMODEL_API_KEY_FILE"):
        api_key = _secret(environ, "REGMODEL_API_KEY_FILE", problems)

    public_url = environ.get("REGMODEL_PUBLIC_URL", "").strip()
    if public_url and not re.fullmatch(r"https?://[^/?#@\s]+(/[\w.~/-]*)?", public_url):
        problems.append(f"REGMODEL_PUBLIC_URL={public_url!r} is not a URL such as https://example.org/regmodel")

    allowed = Settings.allowed_flavors
    try:
        allowed = allowed_from(environ.get(VARIABLE, ""))
    except ValueError as error:
        problems.append(str(error))

    settings = Settings(
        tracking_uri=tracking_uri,
        model_name=environ.get("REGMODEL_MODEL_NAME") or Settings.model_name,
        alias=environ.get("REGMODEL_MODEL_ALIAS") or Settings.alias,
        poll_seconds=number("REGMODEL_POLL_SECONDS", Settings.poll_seconds, float, 0.1, 3600),
        max_rows=number("REGMODEL_MAX_ROWS", Settings.max_rows, int, 1, 1_000_000),
        host=environ.get("REGMODEL_HOST") or Settings.host,
        port=number("REGMODEL_PORT", Settings.port, int, 0, 65535),
        api_key=api_key,
        public_url=public_url,
        allowed_flavors=allowed,
    )
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def prepare_mlflow_client(environ: MutableMapping[str, str]) -> None:
    """Set what MLflow's client reads from the environment; call it before MLflow is imported.

    MLflow accepts its password from the environment only, so MLFLOW_TRACKING_PASSWORD_FILE is read here.
    Raises SettingsError if that file cannot be read or is empty.
    """
    for name, value in MLFLOW_CLIENT_DEFAULTS.items():
        if not environ.get(name):
            environ[name] = value
    if environ.get("MLFLOW_TRACKING_PASSWORD_FILE"):
        problems: list[str] = []
        password = _secret(environ, "MLFLOW_TRACKING_PASSWORD_FILE", problems)
        if problems:
            raise SettingsError("\n".join(problems))
        environ["MLFLOW_TRACKING_PASSWORD"] = password


def _secret(environ: Mapping[str, str], name: str, problems: list[str]) -> str:
    try:
        text = Path(environ[name]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: {error}")
        return ""
    if not text:
        problems.append(f"{name}: {environ[name]} is empty")
    return text
