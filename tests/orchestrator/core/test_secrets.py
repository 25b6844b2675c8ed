"""Masks of passwords and keys: in addresses of any shape, and wherever a known secret is quoted."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core.messages import mask_text, mask_token, mask_uri, mask_values, mask_words, visible
from orchestrator.core.secrets import Secrets, one_line, variable_in

LATTER = "nt3d-x7"
PASSWORDS = [f"pl4{between}{LATTER}" for between in " '\"\\/@%\n\té墙#?[:&=,"] + [
    f"12 {LATTER}",
    f"p@/{LATTER}",
    f"p@ {LATTER}",
]
ADDRESSES = ["{s}://me:{p}@h:5000/db", "{s}://me:{p}@h/db?sslmode=x", "{s}://h/db?password={p}", "{s}://me:{p}@h/?sslkey={p}"]
TOKENS = ["tracking.uri={a}", "name={a}", "task={a}", "optuna={{storage: '{a}'}}", "world_models=[{a},x]", "{a}"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_of_any_characters_is_masked_in_a_token_and_where_it_is_quoted(password: str) -> None:
    for scheme in ("http", "postgresql", "s3", "sqlite"):
        for address in ADDRESSES:
            for form in TOKENS:
                if "&" in password and "={p}" in address:
                    continue  # there it ends the parameter
                plain = address.format(s=scheme, p=password)
                token = form.format(a=plain)
                assert LATTER not in mask_token(token)
                assert LATTER not in mask_words(["grasp", "sweep", token, "seeds=4"])
                assert "seeds=4" in mask_words(["grasp", "sweep", token, "seeds=4"])
                assert LATTER not in str(mask_values({"a": [token, {"b": token}]}))
                secrets = Secrets.of([token, plain], {})
                for quoted in (
                    token,
                    repr(token),
                    shlex.quote(token),
                    ascii(token),
                    " ".join(token.split()),
                    repr(repr(token)),
                ):
                    assert LATTER not in secrets.scrub(f"cannot use {quoted}: (server said {password} is wrong)")


@pytest.mark.parametrize("scheme", ["http:/\n/", "http: //", "postgresql:\t/ /"])
def test_a_line_may_break_among_the_slashes_of_an_address(scheme: str) -> None:
    for token in (f"name={scheme}me:a {LATTER}@host", f"name={scheme}me:{LATTER}@host/db"):
        assert LATTER not in mask_token(token)
        assert LATTER not in mask_text(f"cannot read {token!r} or {token}")


@given(st.text(min_size=3))
@example("***")
def test_a_known_password_is_nowhere_in_a_message(password: str) -> None:
    planted = f"{password}{LATTER}{password}"
    secrets = Secrets.of([f"tracking.uri=postgresql://me:{planted}@db/x"], {})
    assert planted not in secrets.scrub(f"no {planted!r}, no {planted}, no postgresql://me:{planted}@db/x")
    assert planted not in repr(secrets)


def test_secrets_of_the_environment_are_known_and_other_variables_are_not() -> None:
    environment = {
        "MLFLOW_TRACKING_PASSWORD": "planted-1",
        "MLFLOW_TRACKING_TOKEN": "planted-2",
        "AWS_SECRET_ACCESS_KEY": "plan/ted+3",
        "WANDB_API_KEY": "planted-4",
        "DATABASE_URL": "postgresql://me:planted-5@db/x",
        "NEEDS_TOKEN": "true",
        "PATH": "/usr/bin",
        "USER": "somebody",
    }
    shown = Secrets.of([], environment).scrub(f"true /usr/bin somebody {list(environment.values())} plan%2Fted%2B3")
    assert shown.startswith("true /usr/bin somebody")
    assert "planted" not in shown
    assert "ted" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "give http://HOST:PORT; a password needs %2F %3A %40 for / : @.",
        "give postgresql://USER@HOST/DATABASE: or a file",
        "see http://tracking:5000/a@b, sqlite:////tmp/mlflow.db or file:///x",
        "MLflow at http://10.0.0.1:5000 cannot be reached; write to me@example.org",
        "iterations=3 is no token, and neither is [1, 2]",
        "see models:/push_t@best, image:tag@sha256:0a1b, git@example.org:a/b.git, 12:30@ and //HOST:PORT/x",
        "give //USER:PASSWORD@HOST",
        "Ray at ray://head:10001, see http://[::1]:5000/x, (http://tracking:5000), s3://bucket/a:b and http://h:5000.",
    ],
)
def test_sentences_without_a_secret_stay_as_they_are(text: str) -> None:
    assert mask_text(text) == text


def test_masks_of_addresses() -> None:
    assert mask_uri("postgresql://me:secret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert mask_uri("http://me:se/cret@tracking:5000") == "http://tracking:5000"
    assert mask_uri("http://h:5000/#token=x") == "http://h:5000/"
    assert mask_uri("http://me:se@cret@127.0.0.1:se@cret") == "http://***"
    assert mask_uri("http://[unclosed") == "http://***"
    assert mask_text("password=hunter2-x and Authorization: Bearer abcdefgh123") == "password=*** and Authorization: Bearer ***"
    assert one_line(ValueError("no\nhttp://me:secret@h")) == "ValueError: no http://h"


@pytest.mark.parametrize(
    "address",
    [
        "me:planted-1@localhost:1/x",
        ",://:planted-1@localhost:1/x",
        "//:planted-1@localhost",
        "//me:planted-1@[::1]/x",
        "http//me:planted-1@localhost:1/x",
        "http:/me:planted-1@host",
        "http:/me:planted-1\\@host",
        'htt"://me:a planted-1@host',
        "http'//me:planted-1@localhost",
        "http://me:planted-1host/a b",
        "http:/{/me:planted-1@",
        "http:(//me:planted-1@",
    ],
)
def test_a_password_is_masked_where_the_scheme_is_missing_or_misspelt(address: str) -> None:
    for token in (address, f"tracking.uri={address}", f"'{address}'", f"lr={address} seeds=4"):
        assert "planted-1" not in mask_text(token)
        assert "planted-1" not in mask_token(token)
        secrets = Secrets.of([token], {})
        for quoted in (token, repr(token), ascii(token), json.dumps(token)):
            assert "planted-1" not in secrets.scrub(f"cannot use {quoted}")


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert visible("a\x1b[31mb\x07\x9b\u202ec\nd\t墙") == "a\\x1b[31mb\\x07\\x9b\\u202ec\nd\t墙"


def test_an_error_quotes_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "planted-1/é planted-2")
    for quoted in ("planted-1/é planted-2", "planted-1%2F%C3%A9%20planted-2", "planted-1/Ã© planted-2", "planted-2"):
        assert "planted" not in one_line(ValueError(f"refused {quoted}"))


def test_a_library_that_quotes_a_part_of_a_password_shows_nothing() -> None:
    secrets = Secrets.of(["http://me:planted-1 '\"\\planted-2@h.example.org:5000"], {})
    assert secrets.scrub("Host 'me:planted-1 \\'\"' at h.example.org") == "Host 'me:*** \\'\"' at h.example.org"


def test_a_text_with_the_secret_of_a_variable_names_the_variable() -> None:
    environment = {"A_TOKEN": "planted-1", "SHORT_TOKEN": "smoke", "NAME": "planted-2"}
    assert variable_in("run-planted-1", environment) == "A_TOKEN"
    assert variable_in("smoke planted-2", environment) is None


@pytest.mark.parametrize(
    "name", ["PWD", "OLDPWD", "AWS_WEB_IDENTITY_TOKEN_FILE", "RAY_AUTH_TOKEN_PATH", "CREDENTIALS_DIRECTORY"]
)
def test_the_place_of_a_secret_is_none(name: str) -> None:
    """A shell that changed its folder puts the one it left into OLDPWD, and the output folder lies below it."""
    environment = {name: "/home/somebody"}
    assert variable_in("/home/somebody/outputs", environment) is None
    assert Secrets.of((), environment).scrub("/home/somebody/outputs") == "/home/somebody/outputs"


def test_a_variable_with_a_file_is_told_from_a_secret_that_begins_with_a_slash(tmp_path: Path) -> None:
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path), "AWS_SECRET_ACCESS_KEY": "/planted+1/abc"}
    secrets = Secrets.of((), environment)
    assert secrets.scrub(f"{tmp_path} /planted+1/abc") == f"{tmp_path} ***"
    assert variable_in(f"{tmp_path}/x", environment) is None
    assert variable_in("/planted+1/abc", environment) == "AWS_SECRET_ACCESS_KEY"
