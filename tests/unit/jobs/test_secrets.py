from __future__ import annotations

import json
import re
import shlex
import time

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dataharbour.errors import SecretInRequest
from dataharbour.jobs.model import RunRequest
from dataharbour.jobs.secrets import (
    HIDDEN,
    check_definition,
    check_request,
    holds_secret,
    is_secret_name,
    redact,
    redact_text,
    refuse_secrets,
)

# Built from parts, so that this file holds none in one piece.
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0In0", "c2lnbmF0dXJlLW9mLWl0"])
TOKENS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2" * 9,
    "github-fine": "github_pat_" + "a1B2" * 10,
    "gitlab": "glpat-" + "a1B2" * 5,
    "slack": "xoxb-" + "123456789012-abcdef",
    "slack-hook": "https://hooks.slack.com/" + "services/T000/B000/XXXXXXXX",
    "jwt": JWT,
    "google": "AIza" + "a1B2c" * 7,
    "stripe": "sk_live_" + "a1B2" * 5,
    "npm": "npm_" + "a1B2" * 9,
    "age": "AGE-SECRET-KEY-1" + "QPZRY9X8" * 7,
    "pem": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "userinfo": "postgresql://app:hunter2@db/x",
    "flag": "--password=hunter2",
    "property": "spark.hadoop.fs.s3a.secret.key=hunter2",
    "json": '{"api_key": "hunter2"}',
    "header": "Authorization: Bearer hunter2hunter2hunter2",
    "yaml": "password: hunter2",
    "glued": "PGPASSWORD=hunter2",
    "glued-small": "dbpassword: hunter2",
    "glued-url": "http://x/?clientsecret=hunter2&n=1",
    "flag-and-value": "spark-submit --password hunter2 x.py",
    "flag-and-quoted": "x --db-password 'hunter2'",
    "flag-and-dash": "x --password -hunter2",
    "flags-in-a-list": "['x', '--token', 'hunter2', '-v']",
    "jdbc": "jdbc:mysql://db/x?user=a&password=hunter2",
}
PLAIN = [
    "--max-tokens=5",
    "--password={params.password}",
    "token=${TOKEN}",
    "https://example.org/x?page=2",
    "s3a://lake/silver/flights",
    "the password is asked for",
    "did not take the credential: it is too old",
    "monkey=1",
    "sort_key=id",
    "2026-01-01T10:00:00Z",
    "sk-learn-model-of-the-second-generation",
    "user@example.org",
    "token:",
    "password=***",
    "x --password --verbose",
    "x --password -v",
    "x --password --s3.end-point=x --y",
    "['--password', '--verbose']",
    "--password {params.password}",
    "--max-tokens 5",
    "--password-file /run/x",
    "the pre--password age",
    "bypass=1",
    'no option "--token=" is known; say "--key" or "--x"',
    'the argument "password=" is missing, and more',
    '["--password=", "--user", "x"]',
    '["--password=","--user","x"]',
    'print("password: " + typed)',
    'log("token: ", value, "b")',
    '{"msg": "no password=", "user": "bob"}',
    'password="" user="x y"',
    "--token '' --data 'a b'",
    '{"token":"","data":"a b"}',
    "http://host:8080/@scope/package",
    "https://host:443?mail=ana@example.org",
    "https://example.org?t=12:30&mail=ana@example.org",
    "mongodb://a:27017,b:27017/db?owner=ana@example.org",
    "http://[::1]:8080/a@b",
    "file://C:/Users/ana@example.org",
    "postgresql://app:{params.password}@db/x",
]


@pytest.mark.parametrize("secret", TOKENS.values(), ids=TOKENS)
def test_a_secret_is_known_by_its_shape_and_hidden(secret):
    assert holds_secret(f"before {secret}")
    shown = redact_text(f"before {secret}")
    assert shown.startswith("before ")
    assert HIDDEN in shown
    assert "hunter2" not in shown
    assert secret not in shown
    assert redact_text(shown) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_none_stays(text):
    assert not holds_secret(text)
    assert redact_text(text) == text


def test_a_whole_private_key_is_hidden():
    key = TOKENS["pem"] + "\nMIIEow\nabc\n" + TOKENS["pem"].replace("BEGIN", "END")
    assert redact_text(f"a {key} b") == f"a {HIDDEN} b"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True),
        ("dbPassword", True),
        ("DB_PASSWORD", True),
        ("fs.s3a.access.key", True),
        ("x-api-key", True),
        ("jwt", True),
        ("PGPASSWORD", True),
        ("dbpassword", True),
        ("clientsecret", True),
        ("compass", False),
        ("max_tokens", False),
        ("partition_key", False),
        ("key", False),
        ("password_hash_column", False),
        ("cwd", False),
    ],
)
def test_some_names_make_their_values_secret(name, secret):
    assert is_secret_name(name) is secret
    assert redact({name: "abc"}) == {name: HIDDEN if secret else "abc"}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"args": ("x", "--password", "hunter2")}, "/args/2"),
        ({"args": ("--token=hunter2",)}, "/args/0"),
        ({"args": ("x", "--password", "-hunter2")}, "/args/2"),
        ({"args": ("--verbose --password hunter2",)}, "/args/0"),
        ({"conf": {"spark.x": "-DPGPASSWORD=hunter2"}}, "/conf/spark.x"),
        ({"conf": {"spark.x": TOKENS["aws"]}}, "/conf/spark.x"),
        ({"conf": {"spark.x.password": "hunter2"}}, "/conf/spark.x.password"),
        ({"params": {"api_key": "hunter2"}}, "/params/api_key"),
        ({"params": {"pwd": 1234}}, "/params/pwd"),
        ({"params": {"a": {"b/c": ["x", TOKENS["github"]]}}}, "/params/a/b~1c/1"),
        ({"params": {TOKENS["github"]: 1}}, "/params (a name in it)"),
        ({"labels": {"token": "hunter2"}}, "/labels/token"),
        ({"application": "https://u:hunter2@h/x.py"}, "/application"),
    ],
)
def test_a_request_with_a_secret_is_refused_by_its_place(fields, place):
    with pytest.raises(SecretInRequest) as caught:
        check_request(RunRequest(**{"application": "x.py", **fields}))
    assert caught.value.problem.startswith(f"{place} holds")
    assert "hunter2" not in str(caught.value)
    assert not any(token in str(caught.value) for token in TOKENS.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"args": ("--password", "{params.pw}")},
        {"args": ("--password", "--verbose")},
        {"args": ("--password", "-v")},
        {"args": ("--password",)},
        {"params": {"password": "", "token": None, "secret": True}},
        {"params": {"limit": 5, "who": "ada"}},
    ],
)
def test_a_request_without_one_passes(fields):
    check_request(RunRequest(**{"application": "x.py", **fields}))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (
            {"params": {"api_key": {"type": "string", "default": "hunter2"}}},
            "/params/api_key/default",
        ),
        ({"params": {"x": {"enum": ["a", TOKENS["github"]]}}}, "/params/x/enum/1"),
        (
            {"params": {"x": {"description": f"such as {TOKENS['github']}"}}},
            "/params/x/description",
        ),
        ({"description": f"Uses {TOKENS['aws']}."}, "/description"),
        ({"args": ["--token", "hunter2"]}, "/args/1"),
        ({"labels": {"token": "hunter2"}}, "/labels/token"),
    ],
)
def test_a_job_with_a_secret_is_refused(fields, place):
    with pytest.raises(SecretInRequest) as caught:
        check_definition({"description": "x", "application": "x.py", **fields})
    assert caught.value.problem.startswith(f"{place} holds")


def test_a_job_may_speak_of_secrets():
    check_definition(
        {
            "description": "The password: see the runbook, token=by mail.",
            "application": "x.py",
            "params": {"password": {"type": "string", "title": "Password"}, "n": "odd"},
        }
    )


def test_only_values_are_hidden():
    value = {"token": "a", "deep": [{"password": "b", "n": 1}], "list": {"secret": ["x", 2, None]}}
    assert redact(value) == {
        "token": HIDDEN,
        "deep": [{"password": HIDDEN, "n": 1}],
        "list": {"secret": [HIDDEN, HIDDEN, None]},
    }
    assert value["token"] == "a"


@pytest.mark.parametrize("value", ["abc", 42])
def test_in_a_list_a_value_after_a_flag_is_hidden_and_refused(value):
    given = {"conf": {"args": ["--to", "x", "--db-password", value, "--token", "--verbose"]}}
    hidden = {"conf": {"args": ["--to", "x", "--db-password", HIDDEN, "--token", "--verbose"]}}
    assert redact(given) == hidden
    with pytest.raises(SecretInRequest, match="/params/conf/args/3"):
        refuse_secrets({"params": given})
    refuse_secrets({"params": hidden})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.text()
        | st.integers()
        | st.sampled_from(["--password", "-s"]),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_redaction_keeps_the_shape_and_is_done_once(value):
    shown = redact(value)
    assert redact(shown) == shown
    try:
        refuse_secrets({"params": value})
    except SecretInRequest:
        return
    assert shown == value, "what is not refused is not hidden"


def in_a_shell(word: str) -> str:
    """In quotes, as `shlex.quote` writes it where that is needed; here always."""
    return shlex.quote(f" {word}")[:1] + shlex.quote(f" {word}")[2:]


# Forms in which a secret of any characters stands in a text.
QUOTED = {
    "json": lambda secret: json.dumps({"password": secret, "user": "ana"}),
    "json in json": lambda secret: json.dumps({"body": json.dumps({"api_key": secret})}),
    "python": lambda secret: repr({"dbPassword": secret, "n": 1}),
    "python, an argument": lambda secret: f"connect(password={secret!r}, timeout=3)",
    "a command line": lambda secret: f"job --password {in_a_shell(secret)} --rows 7",
    "a command line with =": lambda secret: f"job --token={in_a_shell(secret)} --rows 7",
    "a command line as python shows it": lambda secret: str(["job", "--password", secret, "x"]),
    "yaml": lambda secret: f"password: {json.dumps(secret)}\nuser: ana",
    "json, packed": lambda secret: json.dumps({"token": secret, "n": 1}, separators=(",", ":")),
    "a command line as json, packed": lambda secret: json.dumps(
        ["job", "--password", secret, "x"], separators=(",", ":")
    ),
    "a command line in json": lambda secret: json.dumps(
        {"args": json.dumps(["job", "--password", secret, "x"])}
    ),
    "python, bytes": lambda secret: f"connect(password={secret.encode()!r}, timeout=3)",
    "sql": lambda secret: "ROLE x PASSWORD = '" + secret.translate({92: "", 39: "''"}) + "' LOGIN",
    "by hand in a shell": lambda secret: "job --password '" + secret.replace("'", "'\\''") + "' x",
}
# Those that say where the value ends, whatever it is.
PLAIN_ENDS = ["json", "python, an argument", "json, packed", "a command line as python shows it"]
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)


@pytest.mark.parametrize("form", QUOTED.values(), ids=QUOTED)
@given(st.text(PRINTABLE, min_size=1, max_size=40))
@example("two words and a third")
@example('it\'s a "quoted" one')
@example("back\\slash \\' \\\" end")
@example("x" * 5_000 + " y")
def test_nothing_of_a_quoted_secret_stays(form, secret):
    assume(HIDDEN not in secret)
    secret = f"QZ{secret}ZQ"  # no placeholder, no flag, and to be told from all else
    pieces = {secret[n : n + 3] for n in range(len(secret) - 2)}
    around = form("W")
    shown = redact_text(form(secret))
    assert not [piece for piece in pieces if piece in shown and piece not in around]
    assert "QZ" not in shown
    assert "ZQ" not in shown


@pytest.mark.parametrize("name", PLAIN_ENDS)
@given(st.text(PRINTABLE, min_size=3, max_size=40))
@example("& so on")
@example("\"'")
@example(", it's")
def test_it_may_begin_with_any_character(name, secret):
    assume(HIDDEN not in secret and not re.match(r"[\s-]|\{|\$\{", secret))
    # Nor as a text goes on between two quotes.
    assume(not re.match(r"[,;:.)}\]&?!+|>\"'].*[\s,;:.(\[{=+|&]$", secret))
    form = QUOTED[name]
    around = form("W")
    shown = redact_text(form(secret))
    pieces = {secret[n : n + 3] for n in range(len(secret) - 2)}
    assert not [piece for piece in pieces if piece in shown and piece not in around]
    assert shown.partition("***")[0].rstrip("'\"") == around.partition("W")[0].rstrip("'\"")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password='it's ok'", "password='***'"),
        ('password="""two words"""', 'password="""***"'),
        ("PGPASSWORD=$'two words'", "PGPASSWORD=$'***'"),
        ('password="two words', 'password="***'),
        ('token="two words\nthe next line', 'token="***\nthe next line'),
        ('--token "a b" --data "c d"', '--token "***" --data "c d"'),
    ],
)
def test_what_is_written_carelessly_is_hidden_too(text, shown):
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ana:pa@ss@db.example/x",
        "postgresql://ana@example.org:pass@db.example/x",
        "s3://key:a@b@c@localhost:9000/lake",
        "s3://key:ab/c+d==@localhost:9000/lake",
        "s3://key:ab/c?d#e@f@localhost:9000/lake?x=y@z",
        "postgresql://ana:pa{ss'wo@rd@db.example/x?mail=ana@example.org",
    ],
)
def test_a_password_in_an_address_is_hidden_whole(text):
    scheme, _, rest = text.partition("://")
    user, _, _ = rest.partition(":")
    place = re.search(r"@(?:db|localhost).*", rest)
    assert redact_text(text) == f"{scheme}://{user}:***{place[0]}"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#{\"'")))
def test_a_password_of_any_characters_is_hidden_whole_in_an_address(password):
    assume(password and not password.startswith("***"))
    text = f"copy postgresql://ana:{password}@db.example:5432/x?mail=ana@example.org to it"
    shown = "copy postgresql://ana:***@db.example:5432/x?mail=ana@example.org to it"
    assert redact_text(text) == shown


PARTS = [
    "password", "token", "--password", "=", ":", ": ", " ", ", ", "'", '"', '\\"', "\\", "***",
    "a", "b c", "-x", "{params.x}", "{", "}", "]", "\n", "http://", "@", "/", "u:p", "bearer ", "$",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=25).map("".join))
@settings(max_examples=500)
def test_what_was_hidden_once_is_left_alone(text):
    shown = redact_text(text)
    assert redact_text(shown) == shown
    assert (shown != text) is holds_secret(text)


def test_quotes_hide_no_more_than_what_they_hold():
    text = "job --password 'two words' --rows 7, token=\"a b\" user='ana lee'"
    assert redact_text(text) == "job --password '***' --rows 7, token=\"***\" user='ana lee'"


@pytest.mark.parametrize("piece", ["-eyJ", "_-eyJ", "-eyJ-"])
def test_what_begins_like_a_token_again_and_again_is_read_once(piece):
    def cost_s(text: str) -> float:
        start = time.process_time()
        holds_secret(text)
        return time.process_time() - start

    hostile = piece * (120_000 // len(piece))
    harmless = hostile.replace("ey", "ab")
    costs = [(cost_s(hostile), cost_s(harmless)) for _ in range(3)]
    assert min(a for a, _ in costs) < 1.7 * min(b for _, b in costs)


@pytest.mark.parametrize(
    "text",
    ["a." * 130_000, "a_" * 130_000, "password" * 30_000, "eyJ" + "a" * 200_000, "x://" * 60_000,
     "-----BEGIN " * 20_000, "token = " * 30_000, "https://" + "a:" * 100_000,
     "--password " * 20_000, "x" * 200_000, "--a-" * 60_000, "secret" * 40_000,
     "--token --x=" * 20_000, 'token: "' * 30_000, "token='" + "a" * 200_000, 'token=\\"' * 30_000,
     "token='\"" * 30_000, "https://" + "a:@" * 80_000, "a://b:c@" * 30_000, "token=\\ " * 30_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_the_largest_body_is_searched_in_no_time(text):
    start = time.process_time()
    holds_secret(text)
    redact_text(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "line",
    ["a." * 500_000, "password='" + "a line of a log, " * 60_000, '"token=", ' * 100_000,
     "u://a:b@c@d" * 90_000, "postgresql://ana:" + "u://a:b/c'd" * 90_000],
    ids=lambda line: line[:20],
)  # fmt: skip
def test_a_line_of_a_megabyte_is_searched_within_a_second(line):
    def cost_s() -> float:
        start = time.process_time()
        redact_text(line)
        return time.process_time() - start

    assert any(cost_s() < 1 for _ in range(3))
