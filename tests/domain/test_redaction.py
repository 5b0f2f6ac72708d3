"""What is taken for a secret (V52), what is left alone, and that neither takes long."""

from __future__ import annotations

import base64
import random
import secrets
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headway
from headway.domain.redaction import (
    MASK,
    LineRedactor,
    is_secret_name,
    redact_arguments,
    redact_lines,
    redact_text,
    redact_url,
    redact_values,
)

quick = settings(deadline=None, database=None)
CANARY = "c4naryPassw0rd"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def words(text: str) -> list[str]:
    return text.split()


TOKENS = [
    "hw_" + "Ab1-" * 11,
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2c3" * 6,
    "glpat-" + "x9" * 10,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "xoxb-" + "123456789012-abcdefABCDEF",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "sk-proj-" + "Ab3" * 12,
    "hf_" + "aBcDeFgH" * 4,
    "AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "npm_" + "aB3" * 12,
    "pypi-AgE" + "IcHlwaS5vcmcC" * 3,
    "SG." + "ngeVfQFYQlKU0ufo8x5d1A" + ".TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr",
    "dapi" + "0123456789abcdef" * 2,
    JWT,
    "gsk_" + "aB3d" * 10,
    "nvapi-" + "aB3d-" * 8,
]

SECRET_NAMES = words("""
password PASSWORD passwd passphrase db_password dbPassword DB-PASSWORD user_pwd secret client_secret clientSecret
token TOKEN HF_TOKEN hf_token access_token accessToken auth-token refresh_token WANDB_API_KEY api_key api-key apikey
apiKey openai.api_key AWS_SECRET_ACCESS_KEY aws_access_key private_key privateKey signing_key credentials Authorization
cookie session_key ssh_key DATABASE_PASSWORD password2 bearer jwt storage_account_key AccountKey
""")

HARMLESS_NAMES = words("""
num_tokens use_cls_token tokenizer tokenizer_name token_ids pad_token eos_token bos_token mask_token max_new_tokens
tokens_per_second token_type token_dim token_dropout special_tokens image_token num_image_tokens key keys sort_key
primary_key key_dim num_keys secret_name password_file token_length author authors authority auth_url passes bypass
compass passthrough monkey keyboard hotkey lr PWD OLDPWD add_bos_token start_token n_token per_token class_token secretary
""")


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert is_secret_name("--" + name)


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_names_that_only_sound_alike(name: str) -> None:
    assert not is_secret_name(name)
    assert not is_secret_name("--" + name)


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:8])
@pytest.mark.parametrize(
    "around", ["{}", '+    client = Client("{}")', "-curl -H 'X-Key: {}' https://h/", "see {}, please"]
)
def test_shapes_of_tokens(token: str, around: str) -> None:
    cleaned = redact_text(around.format(token))
    assert token not in cleaned
    assert token[8:] not in cleaned
    assert MASK in cleaned


@pytest.mark.parametrize(
    "line",
    [
        f"PASSWORD={CANARY}",
        f"+export DB_PASSWORD={CANARY}",
        f"-  password: {CANARY}",
        f"   password: {CANARY} and more {CANARY}",
        f'  "password": "{CANARY}",',
        f"password = '{CANARY}'",
        f'password: str = "{CANARY}"',
        f'password = "{CANARY}',
        f'connect(user="me", password="{CANARY}", port=1)',
        f"connect(user=me, password={CANARY}, port=1)",
        f"os.environ['HF_TOKEN'] = '{CANARY}'",
        f'os.environ["HF_TOKEN"]="{CANARY}"',
        f"{{user: me, password: {CANARY}}}",
        f'{{"user": "me", "api_key": "{CANARY}"}}',
        f"$config['api_key'] => '{CANARY}';",
        f"<password>{CANARY}</password>",
        f"run: train.py --password {CANARY} --epochs 5",
        f"run: train.py --api-key={CANARY}",
        f"https://me:{CANARY}@example.org/a",
        f"https://{CANARY}@example.org/a",
        f"postgresql://me:pa@ss{CANARY}@db:5432/x",
        f"GET /files?a=1&token={CANARY}&b=2 https://h",
        f"https://h/x?X-Amz-Signature={CANARY}&a=1",
        f"Authorization: Bearer {CANARY}",
        f'curl -H "Authorization: Bearer {CANARY}"',
        f"-H 'authorization: basic {CANARY}=='",
        f'api_key = f"{CANARY}"',
        f'secret = """{CANARY}"""',
        f"password := `{CANARY}`",
        f"aws_secret_access_key = {CANARY}",
        f"AccountKey={CANARY}==;EndpointSuffix=core",
        f'self.password = kwargs.get("password", "x") or "a"; password="{CANARY}"',
    ],
)
def test_lines_with_a_secret(line: str) -> None:
    cleaned = redact_text(line)
    assert CANARY not in cleaned
    assert MASK in cleaned
    assert redact_text(cleaned) == cleaned


@pytest.mark.parametrize(
    "line",
    [
        "num_tokens = 512",
        "use_cls_token: true",
        'tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ-Int4")',
        "commit 4f0c8d0f1e2b3a4958671029384756afbecd0123",
        "index 83db48f84ec8..1f3870be274f 100644",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        'integrity "sha512-dWcXAvXxE5H8vR0jAEZSpIv7XJPZ2OSRN8F9WqF0ZkS6o2o0F4mZ3vM5TqGn8mQ1LxKpM3JQp1Yq9Zt5bE0wYA=="',
        "password = os.environ['PASSWORD']",
        'token = os.environ["HF_TOKEN"]',
        "token = tokens[i]",
        "api_key = args.api_key",
        "def login(user: str, password: str | None = None) -> None:",
        "password=password, token=self.token, secret=None",
        'password = ""',
        'password = "${DB_PASSWORD}"',
        "token: ${{ secrets.TOKEN }}",
        'headers = {"Authorization": f"Bearer {token}"}',
        "password = getpass.getpass()",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "path = '/mnt/data/Train01/ImageNet21k/ViTB16/checkpoint_000123.pt'",
        "https://github.com/org/Repo/blob/1b6db3dbba672b4f8af935bd43a1ff6cff4d20b7/Changelog.txt#L56-L58",
        "class VeryLongCamelCaseIdentifierWith2Numbers3Inside(Base):",
        "one with HTTP Basic authentication and a bearer authentication",
        "lr=0.1 --learning-rate 0.1 --num-tokens 512 --tokenizer bert-base-uncased",
        "git@github.com:team/code.git",
        "if password == other: pass",
        "  author: Somebody Else",
        "@pytest.mark.parametrize",
        "mail me@example.org",
    ],
)
def test_lines_without_one(line: str) -> None:
    assert redact_text(line) == line


def test_a_private_key_goes_and_its_lines_stay() -> None:
    body = [base64.b64encode(secrets.token_bytes(48)).decode() for _ in range(5)]
    text = [
        "+-----BEGIN RSA PRIVATE KEY-----",
        *("+" + line for line in body),
        "+-----END RSA PRIVATE KEY-----",
        "+x = 1",
    ]
    assert redact_lines(text) == [text[0], *(["+" + MASK] * 5), *text[-2:]]
    inline = f'key = "-----BEGIN PRIVATE KEY-----\\n{body[0]}\\n-----END PRIVATE KEY-----\\n"; x = 1'
    assert body[0] not in redact_text(inline)
    assert redact_text(inline).endswith("x = 1")


def test_after_a_key_that_does_not_end_the_text_goes_on() -> None:
    text = ["-----BEGIN PRIVATE KEY-----", "is how a key begins. It is a text (with words).", "x = 1"]
    assert redact_lines(text) == text


def test_random_values_are_found_and_identifiers_are_not() -> None:
    chooser = random.Random(5)
    missed = 0
    for _ in range(500):
        value = "".join(chooser.choices(string.ascii_letters + string.digits, k=chooser.randint(32, 64)))
        missed += value in redact_text(f'client = Client("{value}")')
    assert missed <= 10


@pytest.mark.parametrize(
    ("arguments", "cleaned"),
    [
        (["t.py", "--password", CANARY, "--lr", "0.1"], ["t.py", "--password", MASK, "--lr", "0.1"]),
        (["t.py", f"--api-key={CANARY}"], ["t.py", f"--api-key={MASK}"]),
        (["t.py", f"api_key={CANARY}"], ["t.py", f"api_key={MASK}"]),
        (["t.py", f"+db.password={CANARY}"], ["t.py", f"+db.password={MASK}"]),
        (["t.py", "--token", f"-{CANARY}"], ["t.py", "--token", MASK]),
        (["t.py", "--password", "--verbose"], ["t.py", "--password", "--verbose"]),
        (["t.py", "--hf-token", "a b c", "x"], ["t.py", "--hf-token", MASK, "x"]),
        (["t.py", f"--url=https://u:{CANARY}@h/"], ["t.py", f"--url=https://{MASK}@h/"]),
        (["t.py", "--num-tokens", "5", "--tokenizer", "bert"], ["t.py", "--num-tokens", "5", "--tokenizer", "bert"]),
        (["t.py", TOKENS[1]], ["t.py", MASK]),
        (["-c", f"import x\nx.login(password='{CANARY}')"], ["-c", f"import x\nx.login(password='{MASK}')"]),
        ([], []),
        (["", "--", "-", "="], ["", "--", "-", "="]),
    ],
)
def test_arguments(arguments: list[str], cleaned: list[str]) -> None:
    assert redact_arguments(arguments) == cleaned


def test_a_password_that_begins_with_a_dash_is_no_option() -> None:
    assert redact_arguments(["--password", "-1x?/y"]) == ["--password", MASK]


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        (f"https://me:{CANARY}@example.org/a.git", "https://example.org/a.git"),
        (f"https://{CANARY}@example.org/a.git", "https://example.org/a.git"),
        (f"https://me:p@{CANARY}@example.org/a.git", "https://example.org/a.git"),
        ("ssh://git@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        (f"https://example.org/a.git?access_token={CANARY}", f"https://example.org/a.git?access_token={MASK}"),
    ],
)
def test_urls(url: str, cleaned: str) -> None:
    assert redact_url(url) == cleaned


def test_values() -> None:
    given_values = {
        "password": CANARY,
        "api_key": None,
        "use_auth_token": True,
        "num_tokens": 5,
        "nested": [{"hf_token": CANARY, "url": f"s3://a:{CANARY}@b"}, TOKENS[1], 0.5],
        "secrets": {"a": CANARY, "n": 1},
        3: "x",
    }
    cleaned = redact_values(given_values)
    assert CANARY not in repr({key: value for key, value in cleaned.items() if key != "secrets"})
    assert cleaned["num_tokens"] == 5
    assert cleaned["api_key"] is None
    assert cleaned["nested"][1:] == [MASK, 0.5]
    assert cleaned["secrets"] == {"a": MASK, "n": MASK}
    assert cleaned[3] == "x"


def test_our_own_source_is_left_alone() -> None:
    """Less than one line in a thousand of ordinary code is changed."""
    lines = changed = 0
    for path in Path(headway.__file__).parent.rglob("*.py"):
        if path.name == "redaction.py":
            continue
        redactor = LineRedactor()
        found = path.read_text().splitlines()
        for line in found:
            redactor.redact(line)
        lines += len(found)
        changed += redactor.redacted
    assert lines > 10_000
    assert changed < lines / 1000


EVIL = [
    "a=",
    "token=",
    "eyJ",
    "-eyJaaaaaaaa.",
    "://",
    "a://b@",
    "?token",
    '"password": "',
    "-",
    "sk-",
    "A1b",
    "SG.",
    "'''",
    "password: x, ",
    "{,(",
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", EVIL)
def test_a_hostile_line_of_a_megabyte_is_done_with(piece: str) -> None:
    """In time that grows with the line: if it grew with its square, this would take hours."""
    line = piece * (1_000_000 // len(piece))
    assert len(redact_lines(["-----BEGIN PRIVATE KEY-----", line, line])) == 3


@quick
@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    cleaned = redact_text(text)
    assert cleaned.count("\n") == text.count("\n")
    redact_arguments([text, text])
    redact_url(text)
    redact_values({text: text})


@quick
@given(st.text(alphabet=string.ascii_letters + string.digits + "!$%&()*+-./:;=?@^_{|}~#", min_size=8))
def test_no_argument_of_a_secret_option_stays(value: str) -> None:
    assert redact_arguments(["t.py", f"--password={value}"]) == ["t.py", f"--password={MASK}"]
