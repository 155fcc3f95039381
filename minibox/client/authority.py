"""What a client shows to say who it is: tokens, how they were got, and who keeps them."""

from collections.abc import Callable

import msgspec

from minibox.http_api.accounts import Tokens


class Credentials(msgspec.Struct, frozen=True):
    """Tokens of one account on one server. An app token has no refresh token."""

    access_token: str
    refresh_token: str | None = None
    username: str | None = None

    def __repr__(self) -> str:
        """Secrets don't print."""
        return f"Credentials(username={self.username!r})"


class Authority:
    """The credentials that are shown now. ``changed`` is told of each change, to keep them."""

    def __init__(
        self,
        credentials: Credentials | None,
        changed: Callable[[Credentials | None], None] = lambda _: None,
    ) -> None:
        self._credentials = credentials
        self._changed = changed

    @property
    def credentials(self) -> Credentials | None:
        """What is shown; None for a stranger."""
        return self._credentials

    def headers(self) -> dict[str, str]:
        """The header that shows the access token, if there is one."""
        if self._credentials is None:
            return {}
        return {"Authorization": f"Bearer {self._credentials.access_token}"}

    def accept(self, tokens: Tokens) -> None:
        """Show these from now on."""
        self._set(Credentials(tokens.access_token, tokens.refresh_token, tokens.user.username))

    def forget(self) -> None:
        """Be a stranger from now on."""
        self._set(None)

    def _set(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._changed(credentials)
