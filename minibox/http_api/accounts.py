"""Accounts: register, log in and out, the profile."""

from datetime import datetime
from typing import Literal

import msgspec

from minibox import errors
from minibox.http_api.route import Route

TAGS = ("accounts",)


class Register(msgspec.Struct):
    """A new account under a username, an address or both."""

    password: str
    username: str | None = None
    email: str | None = None


class UserFacts(msgspec.Struct):
    """An account as its owner sees it."""

    id: str
    username: str
    email: str | None
    role: Literal["user", "admin"]
    created: datetime


class Registered(msgspec.Struct):
    """The new account."""

    user: UserFacts
    message: str


class Login(msgspec.Struct):
    """Either word takes a username or an address."""

    password: str
    username: str | None = None
    email: str | None = None
    device_id: str | None = None


class Tokens(msgspec.Struct):
    """``access_token`` goes into the Authorization header; seconds until it expires."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    refresh_token: str
    user: UserFacts


class Refresh(msgspec.Struct):
    """The refresh token of the last login or refresh; each serves once."""

    refresh_token: str


class Logout(msgspec.Struct):
    """``all_devices`` ends every session of the account."""

    all_devices: bool = False


class Message(msgspec.Struct):
    """Done."""

    message: str


class QuotaFacts(msgspec.Struct):
    """Bytes. ``limit`` is null where there is none; ``used`` includes versions and trash."""

    limit: int | None
    used: int
    reserved: int
    versions: int
    trash: int


class Profile(UserFacts):
    """The account with its quota."""

    quota: QuotaFacts = msgspec.field()


class ChangeProfile(msgspec.Struct):
    """New names for the account."""

    username: str | None = None
    email: str | None = None


class DeleteProfile(msgspec.Struct):
    """The password again, because there is no way back."""

    password: str


class ChangePassword(msgspec.Struct):
    """Ends every other session of the account."""

    current_password: str
    new_password: str


REGISTER = Route(
    name="register",
    method="POST",
    path="/api/auth/register",
    tags=TAGS,
    summary="Make an account",
    access="anyone",
    body=Register,
    answer=Registered,
    status=201,
    failures=(
        errors.ValidationFailed,
        errors.AlreadyExists,
        errors.RegistrationClosed,
        errors.Busy,
    ),
)
LOGIN = Route(
    name="login",
    method="POST",
    path="/api/auth/login",
    tags=TAGS,
    summary="Open a session",
    access="anyone",
    body=Login,
    answer=Tokens,
    failures=(
        errors.ValidationFailed,
        errors.BadCredentials,
        errors.AccountDisabled,
        errors.Busy,
    ),
)
REFRESH = Route(
    name="refresh",
    method="POST",
    path="/api/auth/refresh",
    tags=TAGS,
    summary="Exchange the refresh token for new tokens",
    access="anyone",
    body=Refresh,
    answer=Tokens,
    failures=(errors.Unauthenticated, errors.TokenExpired, errors.TokenRevoked),
)
LOGOUT = Route(
    name="logout",
    method="POST",
    path="/api/auth/logout",
    tags=TAGS,
    summary="End this session, or all",
    body=Logout,
    answer=Message,
)
PROFILE = Route(
    name="profile",
    method="GET",
    path="/api/auth/profile",
    tags=TAGS,
    summary="The account and its quota",
    answer=Profile,
)
CHANGE_PROFILE = Route(
    name="change_profile",
    method="PUT",
    path="/api/auth/profile",
    tags=TAGS,
    summary="Rename the account",
    body=ChangeProfile,
    answer=Profile,
    failures=(errors.ValidationFailed, errors.NothingToUpdate, errors.AlreadyExists),
)
DELETE_PROFILE = Route(
    name="delete_profile",
    method="DELETE",
    path="/api/auth/profile",
    tags=TAGS,
    summary="Delete the account with all its files",
    body=DeleteProfile,
    answer=Message,
    failures=(errors.BadCredentials, errors.Busy),
)
CHANGE_PASSWORD = Route(
    name="change_password",
    method="POST",
    path="/api/auth/password",
    tags=TAGS,
    summary="Change the password",
    body=ChangePassword,
    answer=Message,
    failures=(errors.ValidationFailed, errors.BadCredentials, errors.Busy),
)
