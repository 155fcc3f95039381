"""Which server, and who one is there: kept for the next command in a file for its owner alone."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from minibox.client.authority import Credentials
from minibox.client.exchange import checked_url
from minibox.client.local import write_private
from minibox.errors import ValidationFailed

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "MINIBOX_URL"
TOKEN_VARIABLE = "MINIBOX_TOKEN"  # noqa: S105  a variable's name


class Saved(msgspec.Struct, frozen=True):
    """What the file holds: the server of the last login, credentials by server."""

    url: str | None = None
    logins: dict[str, Credentials] = {}


class Settings:
    """The settings in ``folder``, changed by the environment, which wins."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._path = folder / "login.json"
        self._environment = environment
        self._saved: Saved | None = None

    def url(self, asked: str | None = None) -> str:
        """The server: the one asked for, MINIBOX_URL, that of the last login, or this machine."""
        chosen = asked or self._environment.get(URL_VARIABLE) or self._read().url or DEFAULT_URL
        return checked_url(chosen)

    def credentials(self, url: str) -> Credentials | None:
        """What is shown there: MINIBOX_TOKEN, or what the last login left."""
        token = self._environment.get(TOKEN_VARIABLE)
        if token:
            return Credentials(token)
        return self._read().logins.get(url)

    def keep(self, url: str, credentials: Credentials | None) -> None:
        """Note a login or its renewal, or its end, durably. MINIBOX_TOKEN is never written."""
        if self._environment.get(TOKEN_VARIABLE):
            return
        saved = self._read()
        logins = {**saved.logins}
        if credentials is None:
            logins.pop(url, None)
        else:
            logins[url] = credentials
        self._saved = Saved(url if credentials is not None else saved.url, logins)
        write_private(self._path, msgspec.json.encode(self._saved))

    def _read(self) -> Saved:
        if self._saved is None:
            try:
                self._saved = msgspec.json.decode(self._path.read_bytes(), type=Saved)
            except FileNotFoundError:
                self._saved = Saved()
            except (msgspec.DecodeError, OSError) as problem:
                raise ValidationFailed(str(self._path), f"can't be read: {problem}") from problem
        return self._saved


def settings_folder() -> Path:
    """Where this user's settings are."""
    return platformdirs.user_config_path("minibox")


def resume_folder() -> Path:
    """Where this user's unfinished uploads are remembered."""
    return platformdirs.user_cache_path("minibox") / "uploads"
