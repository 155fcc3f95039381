"""Accounts: register, log in and out, the profile."""

from typing import Any

from minibox.coordinator import namespaces, trash
from minibox.coordinator.accounts import User, checked_names
from minibox.coordinator.authentication import Caller
from minibox.coordinator.closing import close_account
from minibox.coordinator.http.call import Call
from minibox.coordinator.http.entries import moment
from minibox.coordinator.http.routing import Router
from minibox.coordinator.logins import Logins, OpenSession
from minibox.errors import NothingToUpdate, RegistrationClosed
from minibox.http_api import accounts as api
from minibox.store import Reader, Store
from minibox.world import Clock


class Accounts:
    """The handlers of /api/auth."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        logins: Logins,
        *,
        registration_is_open: bool,
        access_seconds: int,
    ) -> None:
        self._clock = clock
        self._store = store
        self._logins = logins
        self._registration_is_open = registration_is_open
        self._access_seconds = access_seconds

    def bind(self, router: Router[Caller]) -> None:
        """Offer the routes."""
        router.bind(api.REGISTER, self.register)
        router.bind(api.LOGIN, self.login)
        router.bind(api.REFRESH, self.refresh)
        router.bind(api.LOGOUT, self.logout)
        router.bind(api.PROFILE, self.profile)
        router.bind(api.CHANGE_PROFILE, self.change_profile)
        router.bind(api.DELETE_PROFILE, self.delete_profile)
        router.bind(api.CHANGE_PASSWORD, self.change_password)

    async def register(self, call: Call[Any, None, api.Register]) -> api.Registered:
        """POST /api/auth/register."""
        if not self._registration_is_open:
            raise RegistrationClosed
        names = checked_names(call.body.username or "", call.body.email or "")
        user = await self._logins.register(names, call.body.password)
        return api.Registered(user_facts(user), f"Welcome, {user.username}.")

    async def login(self, call: Call[Any, None, api.Login]) -> api.Tokens:
        """POST /api/auth/login."""
        name = call.body.username or call.body.email or ""
        device = call.body.device_id or call.device_id or ""
        return self._tokens(await self._logins.login(name, call.body.password, device))

    async def refresh(self, call: Call[Any, None, api.Refresh]) -> api.Tokens:
        """POST /api/auth/refresh."""
        return self._tokens(await self._logins.refresh(call.body.refresh_token))

    async def logout(self, call: Call[Caller, None, api.Logout]) -> api.Message:
        """POST /api/auth/logout."""
        await self._logins.logout(call.caller.session, all_devices=call.body.all_devices)
        return api.Message("You are logged out.")

    async def profile(self, call: Call[Caller, None, None]) -> api.Profile:
        """GET /api/auth/profile."""
        return self._profile(call.caller.user)

    async def change_profile(self, call: Call[Caller, None, api.ChangeProfile]) -> api.Profile:
        """PUT /api/auth/profile."""
        user, asked = call.caller.user, call.body
        if asked.username is None and asked.email is None:
            raise NothingToUpdate
        username = user.username if asked.username is None else asked.username
        email = user.email if asked.email is None else asked.email
        return self._profile(await self._logins.rename(user, checked_names(username, email)))

    async def delete_profile(self, call: Call[Caller, None, api.DeleteProfile]) -> api.Message:
        """DELETE /api/auth/profile."""
        await self._logins.confirm(call.caller.user, call.body.password)
        await close_account(self._store, call.caller.user, self._clock.wall())
        return api.Message("The account and all its files are gone.")

    async def change_password(self, call: Call[Caller, None, api.ChangePassword]) -> api.Message:
        """POST /api/auth/password."""
        asked = call.body
        await self._logins.change_password(
            call.caller.user, call.caller.session, asked.current_password, asked.new_password
        )
        return api.Message("The password is changed; other sessions have ended.")

    def _tokens(self, opened: OpenSession) -> api.Tokens:
        return api.Tokens(
            access_token=opened.access_token,
            token_type="bearer",  # noqa: S106  the name of a scheme
            expires_in=self._access_seconds,
            refresh_token=opened.refresh_token,
            user=user_facts(opened.user),
        )

    def _profile(self, user: User) -> api.Profile:
        return self._store.read(lambda reader: _profile(reader, user))


def user_facts(user: User) -> api.UserFacts:
    """An account as its owner sees it."""
    return api.UserFacts(
        id=user.public_id,
        username=user.username,
        email=user.email or None,
        role=user.role,
        created=moment(user.created),
    )


def _profile(reader: Reader, user: User) -> api.Profile:
    home = namespaces.get(reader, user.home)
    shown = user_facts(user)
    return api.Profile(
        **{name: getattr(shown, name) for name in shown.__struct_fields__},
        quota=api.QuotaFacts(
            limit=home.limit or None,
            used=home.used,
            reserved=home.reserved,
            versions=home.old_bytes,
            trash=trash.total_bytes(reader, home.id),
        ),
    )
