import base64
import pickle
import subprocess
import sys
from pathlib import Path
from random import Random

import bcrypt
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minibox.chunk import chunk_id
from minibox.codec import decode, encode
from minibox.credentials import (
    AccessTokens,
    Capabilities,
    Receipts,
    Secret,
    derived_key,
    hash_password,
    load_or_create_cluster_key,
    new_opaque,
    opaque_digest,
    password_matches,
    unmatched_hash,
)
from minibox.errors import (
    BadCapability,
    BadReceipt,
    BadRecord,
    ConfigInvalid,
    RecordDamaged,
    TokenExpired,
    Unauthenticated,
)
from minibox.node_api import Capability, Receipt

random_bytes = Random(1).randbytes
KEY, OTHER_KEY = bytes(range(32)), bytes(32)
CHUNK = chunk_id(b"chunk")
NOW = 1_800_000_000.0


# secrets


def test_a_secret_shows_itself_to_nobody_who_does_not_ask():
    secret = Secret(b"hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)
    assert secret.reveal() == b"hunter2"
    assert secret == Secret(b"hunter2")
    assert secret != Secret(b"hunter3")
    assert secret != b"hunter2"


def test_keys_of_different_purposes_and_generations_differ():
    cluster = Secret(KEY)
    keys = [
        derived_key(cluster, purpose, generation)
        for purpose in ("handshake", "capability", "receipt", "token")
        for generation in (0, 1, 11)
    ]
    assert len({*keys, KEY}) == 13
    assert all(len(key) == 32 for key in keys)


# the cluster key file


def test_the_first_process_makes_the_key_and_the_others_read_it(tmp_path):
    path = tmp_path / "cluster.key"
    key = load_or_create_cluster_key(path, random_bytes)
    assert load_or_create_cluster_key(path, random_bytes) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_comes_second_keeps_the_key_of_the_first(tmp_path):
    path = tmp_path / "cluster.key"
    first = []

    def overtaken(size):
        if not first:
            first.append(None)
            first[0] = load_or_create_cluster_key(path, random_bytes)
        return random_bytes(size)

    assert load_or_create_cluster_key(path, overtaken) == first[0]
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_start_at_once_agree_on_one_key(tmp_path):
    program = (
        "import secrets, sys; from pathlib import Path;"
        "from minibox.credentials import load_or_create_cluster_key as load;"
        "print(load(Path(sys.argv[1]), secrets.token_bytes).reveal().hex())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "key")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    assert len({process.communicate()[0] for process in running}) == 1


@pytest.mark.parametrize("content", ["", "ab" * 31, "not hexadecimal", "ä" * 64])
def test_a_file_that_holds_no_key_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "cluster.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigInvalid):
        load_or_create_cluster_key(path, random_bytes)
    assert path.read_text() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_could_read_is_refused_with_the_remedy(tmp_path, mode):
    path = tmp_path / "cluster.key"
    load_or_create_cluster_key(path, random_bytes)
    path.chmod(mode)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        load_or_create_cluster_key(path, random_bytes)


@pytest.mark.parametrize("path", ["missing/cluster.key", "."])
def test_a_key_that_cannot_be_made_or_read_says_where(tmp_path, path):
    with pytest.raises(ConfigInvalid) as refusal:
        load_or_create_cluster_key(tmp_path / path, random_bytes)
    assert refusal.value.where == str(tmp_path / Path(path))


# capabilities and receipts


def issued(verb="put") -> Capability:
    return Capabilities(KEY).issue(verb, CHUNK, 5, 7, 11, 100)


def test_a_capability_is_good_until_it_expires_and_no_longer():
    check = Capabilities(KEY).check
    check(issued(), "put", 99.9)
    with pytest.raises(BadCapability, match="expired"):
        check(issued(), "put", 100)


def test_a_capability_is_for_its_verb_and_its_cluster_alone():
    with pytest.raises(BadCapability):
        Capabilities(KEY).check(issued("get"), "put", 0)
    with pytest.raises(BadCapability):
        Capabilities(KEY).check(replace(issued("get"), verb="put"), "put", 0)
    with pytest.raises(BadCapability):
        Capabilities(OTHER_KEY).check(issued(), "put", 0)


numbers = st.integers(-(2**64), 2**66)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "verb": st.sampled_from(["put", "get"]),
            "chunk": st.binary(max_size=40),
            "length": numbers,
            "scope": numbers,
            "sequence": numbers,
            "expires": numbers,
            "mac": st.binary(max_size=40),
        },
    )
)
def test_a_changed_capability_is_refused(changes):
    forged = replace(issued(), **changes)
    if forged == issued():
        return
    with pytest.raises(BadCapability):
        Capabilities(KEY).check(forged, forged.verb, 0)


@given(st.data())
def test_a_capability_mutated_on_the_wire_is_refused(data):
    packed = bytearray(encode(issued()))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((BadRecord, BadCapability)):
        Capabilities(KEY).check(decode(Capability, bytes(packed)), "put", 0)


def test_bytes_cannot_wander_between_the_fields_of_a_capability():
    padded = Capability("put", CHUNK[:-1], 5, 7, 11, 100, b"")
    for chunk in (CHUNK[:-1], CHUNK + b"\0"):
        with pytest.raises(BadCapability):
            Capabilities(KEY).check(replace(padded, chunk=chunk), "put", 0)
        with pytest.raises(ValueError, match="32 bytes"):
            Capabilities(KEY).issue("put", chunk, 5, 7, 11, 100)


def received() -> Receipt:
    return Receipts(KEY).make(CHUNK, 5, "n1", b"disk", 7)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "chunk": st.binary(max_size=40),
            "length": numbers,
            "node": st.text(max_size=5),
            "disk": st.binary(max_size=300),
            "upload": numbers,
            "mac": st.binary(max_size=40),
        },
    )
)
def test_a_changed_receipt_is_refused(changes):
    forged = replace(received(), **changes)
    if forged == received():
        Receipts(KEY).check(forged)
        return
    with pytest.raises(BadReceipt):
        Receipts(KEY).check(forged)


@given(st.binary(max_size=20), st.text(st.characters(codec="ascii"), max_size=20), st.data())
def test_disk_and_node_of_a_receipt_cannot_trade_bytes(disk, node, data):
    joined = disk + node.encode()
    at = data.draw(st.integers(0, len(joined)))
    other_disk, other_node = joined[:at], joined[at:].decode(errors="replace")
    if (other_disk, other_node) != (disk, node):
        one = Receipts(KEY).make(CHUNK, 5, node, disk, 7)
        with pytest.raises(BadReceipt):
            Receipts(KEY).check(replace(one, disk=other_disk, node=other_node))


# access tokens


TOKENS = AccessTokens(KEY, lifetime_seconds=3600)


def test_a_token_says_who_asks_until_it_expires():
    token = TOKENS.issue("usr_1", "ses_1", NOW)
    claims = TOKENS.read(token, NOW + 3599)
    assert (claims.sub, claims.sid) == ("usr_1", "ses_1")
    with pytest.raises(TokenExpired):
        TOKENS.read(token, NOW + 3600)


def test_the_wall_clock_of_the_process_does_not_judge_tokens():
    TOKENS.read(TOKENS.issue("usr_1", "ses_1", 1.0), 2.0)
    TOKENS.read(TOKENS.issue("usr_1", "ses_1", 9e9), 9e9)


CLAIMS = {"sub": "usr_1", "sid": "ses_1", "iat": 1, "exp": 9_000_000_000, "typ": "access"}


def signed(claims, key=KEY, algorithm="HS256"):
    return jwt.encode(claims, key, algorithm=algorithm)


@pytest.mark.parametrize("missing", CLAIMS)
def test_a_token_without_one_of_its_claims_is_refused(missing):
    TOKENS.read(signed(CLAIMS), NOW)
    with pytest.raises(Unauthenticated):
        TOKENS.read(signed({k: v for k, v in CLAIMS.items() if k != missing}), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "refresh"},
        {"sub": 1},
        {"sid": None},
        {"exp": "9000000000"},
        {"exp": 9e9},
        {"aud": "x"},
    ],
)
def test_a_token_with_a_claim_of_another_sort_is_refused(changes):
    with pytest.raises(Unauthenticated):
        TOKENS.read(signed(CLAIMS | changes), NOW)


def test_tokens_of_other_keys_and_algorithms_are_refused():
    for token in (
        signed(CLAIMS, key=OTHER_KEY),
        signed(CLAIMS, key=None, algorithm="none"),
        signed(CLAIMS, key=bytes(64), algorithm="HS512"),
    ):
        with pytest.raises(Unauthenticated):
            TOKENS.read(token, NOW)


def unsigned(header: bytes) -> str:
    return base64.urlsafe_b64encode(header).rstrip(b"=").decode() + ".e30.e30"


@given(st.one_of(st.text(st.characters()), st.binary().map(unsigned)))
def test_whatever_is_shown_as_a_token_is_refused_by_one_failure(text):
    with pytest.raises(Unauthenticated):
        TOKENS.read(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        unsigned(b"[" * 2500),
        "x" * 100_000,
        unsigned(b'{"alg":["HS256"]}'),
        unsigned(b"[]"),
        "..",
        "",
    ],
)
def test_hostile_tokens_are_refused_by_one_failure(text):
    with pytest.raises(Unauthenticated):
        TOKENS.read(text, NOW)


@given(st.data())
def test_a_changed_token_is_refused(data):
    token = TOKENS.issue("usr_1", "ses_1", NOW)
    at = data.draw(st.integers(0, len(token) - 2))  # the last letter has bits that mean nothing
    letter = data.draw(st.characters(codec="ascii").filter(lambda letter: letter != token[at]))
    with pytest.raises(Unauthenticated):
        TOKENS.read(token[:at] + letter + token[at + 1 :], NOW)


def test_a_short_key_signs_no_tokens():
    with pytest.raises(ValueError, match="short"):
        AccessTokens(KEY[:31], 3600)


# opaque secrets and passwords


def test_an_opaque_secret_is_found_by_its_digest_alone():
    text = new_opaque("mbr_", random_bytes)
    assert text.startswith("mbr_")
    assert len(text) == 4 + 43
    assert opaque_digest(text) == opaque_digest(text)
    assert opaque_digest(text) != opaque_digest(text + "x")
    assert opaque_digest("\ud800")


SALT = bytes(range(16))


@pytest.mark.parametrize("password", ["correct horse", "", "x" * 1024, "\0a", "passwörd", "\ud800"])
def test_a_password_matches_itself_and_nothing_else(password):
    hashed = hash_password(password, 4, SALT)
    assert password_matches(password, hashed)
    assert not password_matches(password + "x", hashed)
    assert not password_matches("\0" + password, hashed)


def test_passwords_differ_beyond_the_72_bytes_of_bcrypt():
    assert not password_matches("x" * 73 + "a", hash_password("x" * 73 + "b", 4, SALT))


def test_a_password_typed_on_another_keyboard_is_the_same():
    assert password_matches("passwo\u0308rd", hash_password("passw\u00f6rd", 4, SALT))


@given(st.binary(min_size=16, max_size=16))
def test_the_salt_is_written_as_bcrypt_reads_it(salt):
    ours = hash_password("password", 4, salt)
    assert ours.startswith(b"$2b$04$")
    assert len(ours) == 60
    raw = base64.b64encode(ours[7:29].translate(FROM_BCRYPT), altchars=None)
    assert base64.b64decode(base64.b64decode(raw) + b"==") == salt


FROM_BCRYPT = bytes.maketrans(
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
)


def test_an_unknown_user_costs_the_same_rounds_and_never_matches():
    known, unknown = hash_password("password", 5, SALT), unmatched_hash(5)
    assert unknown[:7] == known[:7]
    assert len(unknown) == len(known)
    assert not password_matches("password", unknown)
    assert bcrypt.checkpw(b"", unknown) is False


@pytest.mark.parametrize("hashed", [b"", b"plain", b"$2b$99$" + b"." * 53, b"$2b$04$short"])
def test_a_damaged_hash_is_damage_and_not_a_wrong_password(hashed):
    with pytest.raises(RecordDamaged):
        password_matches("password", hashed)
