"""Secrets are left out of what a run captures: which names and which texts are taken for secrets.

Four signs: the name that a value goes by (``password``, ``api_key``, ``HF_TOKEN``), the shape that a vendor gave its
tokens (``ghp_…``), the credentials in a URL, and a value that looks random. Names that only sound alike are left alone:
``num_tokens``, ``use_cls_token``, ``tokenizer``; so are digests and commits, which are hexadecimal.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "[redacted]"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = _words(
    "password passwd passphrase passcode pwd secret secrets credential credentials authorization cookie apikey "
    "accesskey secretkey privatekey authtoken accesstoken jwt bearer connectionstring"
)
_SECRET_KEYS = _words(
    "api access secret private signing encryption encrypt ssh account storage shared master deploy service auth "
    "license session"
)
_MODEL_TOKENS = _words(
    "cls pad eos bos sep unk mask image img num n max min special start end stop first last per next prev previous "
    "each every input output extra additional vocab word sub subword text prompt global register patch class dist "
    "distill use audio video frame pos position query separator begin beginning fill padding eot eod sot "
    "new old current target source control sentinel decoder encoder is has no add time pixel box point"
)
_ABOUT_SECRETS = _words(
    "name names ref path file dir id type length len url uri size min max count prefix suffix header field pattern "
    "regex endpoint expiry ttl lifetime expires at manager store provider version required enabled policy env var"
)


def is_secret_name(name: str) -> bool:
    """Whether what is called ``name`` (an option, a key, a variable) is a secret.

    >>> [is_secret_name(name) for name in ("password", "HF_TOKEN", "openai-api-key", "awsSecretAccessKey", "token")]
    [True, True, True, True, True]
    >>> [is_secret_name(name) for name in ("num_tokens", "use_cls_token", "tokenizer", "sort_key", "secret_name")]
    [False, False, False, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or (words == ["pwd"] and name.isupper()) or words == ["oldpwd"]:
        return False  # the shell's working directory
    if len(words) > 1 and words[-1] in _ABOUT_SECRETS:
        return False
    if any(word in _SECRET_WORDS for word in words):
        return True
    if words[-1] == "token":
        return not _MODEL_TOKENS.intersection(words)
    return any(first in _SECRET_KEYS and second == "key" for first, second in itertools.pairwise(words))


_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hw_[A-Za-z0-9_-]{40,}"  # Headway
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9]{16,}"
    r"|sk-(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{20,}|gsk_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|pplx-[A-Za-z0-9]{20,}"
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_.-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-AgE[A-Za-z0-9_-]{20,}|dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"
    r"|SG\.[A-Za-z0-9_-]{10,100}\.[A-Za-z0-9_-]{20,}|dapi[a-f0-9]{32}|do[opr]_v1_[a-f0-9]{32,}"
    r"|hv[sb]\.[A-Za-z0-9_-]{20,}|glsa_[A-Za-z0-9_]{20,}|tskey-[A-Za-z0-9-]{16,}|lin_api_[A-Za-z0-9]{20,}"
    r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|NRAK-[A-Z0-9]{20,}|sbp_[a-f0-9]{40}|ATATT3[A-Za-z0-9_=-]{20,}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{50,}|nvapi-[A-Za-z0-9_-]{20,}|wandb_v1_[A-Za-z0-9_]{20,}"
    r"|eyJ[A-Za-z0-9_-]{8,2048}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]*"  # a JSON web token
    r"|[0-9]{8,10}:AA[A-Za-z0-9_-]{32,}"
    r")"
)
_HOOK = re.compile(r"(hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9/_-]+")
_SCHEME = re.compile(r"\b((?i:bearer|basic))(\s{1,4})(?=[A-Za-z._~+/-]{0,200}[0-9=])[A-Za-z0-9._~+/=-]{12,}")
_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/@\"'<>?#{}]*(?:@[^\s/@\"'<>?#{}]*)*@")
_QUERY = re.compile(
    r"([?&](?:[A-Za-z0-9_-]*(?:token|secret|password|passwd|pwd|signature|credential|api[_-]?key|apikey|access[_-]?key)"
    r"|sig|key|auth|code)=)[^\s&#\"'<>]+",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """``url`` without the credentials in it: no user name, no password, no secret in its query.

    >>> redact_url("https://me:hunter2@example.org/team/code.git")
    'https://example.org/team/code.git'
    >>> redact_url("git@example.org:team/code.git")
    'git@example.org:team/code.git'
    """
    return redact_text(_USERINFO.sub(r"\1", url))


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line without its secrets: ``--password x``, ``--api-key=x``, ``PASSWORD=x``, and whatever else looks so.

    >>> redact_arguments(["train.py", "--password", "hunter2", "--api-key=k", "--num-tokens", "8", "lr=0.1"])
    ['train.py', '--password', '[redacted]', '--api-key=[redacted]', '--num-tokens', '8', 'lr=0.1']
    """
    cleaned: list[str] = []
    hide_next = False
    for argument in arguments:
        is_option = argument.startswith("-")
        if hide_next and not (is_option and _OPTION.fullmatch(argument)):
            cleaned.append(MASK)
            hide_next = False
            continue
        name, equals, value = argument.partition("=")
        secret = bool(_NAME.fullmatch(name)) and is_secret_name(name)
        hide_next = secret and is_option and not equals
        cleaned.append(f"{name}={MASK}" if secret and equals and value else redact_text(argument))
    return cleaned


_OPTION = re.compile(r"-[A-Za-z]|--[A-Za-z][A-Za-z0-9_.-]*(?:=.*)?", re.DOTALL)
_NAME = re.compile(r"[+~-]{0,2}[A-Za-z_][A-Za-z0-9_./-]*")


def redact_values(values: Any) -> Any:
    """JSON values with secrets masked: what a secret name leads to, and texts that look like secrets.

    >>> redact_values({"lr": 0.1, "db": {"password": "hunter2"}, "num_tokens": 5})
    {'lr': 0.1, 'db': {'password': '[redacted]'}, 'num_tokens': 5}
    """
    return _redact_value(values, hidden=False)


def _redact_value(value: Any, *, hidden: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _redact_value(item, hidden=hidden or (isinstance(key, str) and is_secret_name(key)))
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_redact_value(item, hidden=hidden) for item in value]
    if hidden:
        # A flag or a missing value gives nothing away.
        return value if value is None or value == "" or isinstance(value, bool) else MASK
    return redact_text(value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """``text`` (a line, a value, a whole file) with what looks like a secret replaced by :data:`MASK`.

    >>> redact_text('+api_key = "abc"  # as in ghp_0123456789abcdefghij0123456789abcdef')
    '+api_key = "[redacted]"  # as in [redacted]'
    >>> redact_text("+key = os.environ['API_KEY']; commit 4f0c8d0f1e2b3a4958671029384756afbecd0123")
    "+key = os.environ['API_KEY']; commit 4f0c8d0f1e2b3a4958671029384756afbecd0123"
    """
    if "\n" not in text:
        return _redact_line(text)
    return "".join(redact_lines(text.splitlines(keepends=True)))


def redact_lines(lines: Sequence[str]) -> list[str]:
    """Lines of one text, with or without their line ends. The body of a private key goes line by line, so that the
    number of lines stays.
    """
    redactor = LineRedactor()
    return [redactor.redact(line) for line in lines]


class LineRedactor:
    """Redacts a text whose lines come one after the other."""

    def __init__(self) -> None:
        self._in_key = False
        self.redacted = 0
        """Lines that were changed."""

    def redact(self, line: str) -> str:
        cleaned = self._redact(line)
        self.redacted += cleaned != line
        return cleaned

    def _redact(self, line: str) -> str:
        if self._in_key:
            self._in_key = _KEY_END not in line and bool(_KEY_BODY.match(line))
            if self._in_key:
                return _KEY_BODY.sub(rf"\1{MASK}", line, count=1)
        if _KEY_BEGIN.search(line):
            self._in_key = _KEY_END not in line
            if not self._in_key:
                return _KEY_INLINE.sub(rf"\1{MASK}\2", line)
            return line
        return _redact_line(line)


_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = "-----END "
_KEY_BODY = re.compile(r"([-+ ]?[ \t\"']{0,40})[A-Za-z0-9+/=:, -]{0,4096}(?:\\n)?(?=[\"',]*\s*$)")
_KEY_INLINE = re.compile(r"(PRIVATE KEY(?: BLOCK)?-----).*?(-----END )")


def _redact_line(line: str) -> str:
    """Every step takes time in proportion to the line."""
    if _mentions(line):
        line = _redact_assignments(line)
        line = _OPTIONS.sub(_option, line)
    if "://" in line:
        line = _USERINFO.sub(rf"\1{MASK}@", line)
        line = _QUERY.sub(rf"\1{MASK}", line)
        line = _HOOK.sub(rf"\1{MASK}", line)
    if "</" in line:
        line = _ELEMENT.sub(_element, line)
    line = _SCHEME.sub(rf"\1\2{MASK}", line)
    line = _PREFIXED.sub(MASK, line)
    return _CANDIDATE.sub(_random, line)


_MENTION = re.compile(r"pass|pwd|secret|credential|authorization|cookie|token|key|jwt|bearer|connection", re.IGNORECASE)


def _mentions(line: str) -> bool:
    return _MENTION.search(line) is not None


_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9_./-])-{0,2}(?P<name>[A-Za-z_][A-Za-z0-9_.-]{0,100})[\"']?\]?"
    r"\s{0,20}(?P<sign>:\s{0,20}[A-Za-z_][A-Za-z0-9_.\[\]| ]{0,60}=(?!=)|=>|:=|=(?!=)|:)\s{0,20}"
)
_QUOTED = re.compile(r"(?P<open>[rbfuRBFU]{0,2}(?P<quote>\"\"\"|'''|[\"']))(?P<text>(?:[^\\]|\\.){0,4096}?)(?P=quote)")
_OPEN_QUOTE = re.compile(r"[rbfuRBFU]{0,2}(?:\"\"\"|'''|[\"'])")
_BARE = re.compile(r"[^\s,;)\]}\"'<>]+")
_LINE_START = re.compile(r"[-+ \t>#]*(?:export\s+|set\s+|ENV\s+|ARG\s+|- )?[\"']?")
_IN_BRACES = re.compile(r"[{,(]\s*[\"']?$")


def _redact_assignments(line: str) -> str:
    """``name = value`` in code, in a settings file or in JSON."""
    kept, done = [], 0
    for match in _ASSIGNED.finditer(line):
        if match.start() < done or not is_secret_name(match["name"]):
            continue
        value, end = _redact_assigned(line, match)
        kept += [line[done : match.end()], value]
        done = end
    return "".join([*kept, line[done:]])


def _redact_assigned(line: str, match: re.Match[str]) -> tuple[str, int]:
    """What to write for the value that begins where ``match`` ends, and where it ends."""
    start, end = match.end(), len(line.rstrip("\r\n"))
    if quoted := _QUOTED.match(line, start):
        harmless = not quoted["text"] or _is_reference(quoted["text"])
        return (quoted[0] if harmless else f"{quoted['open']}{MASK}{quoted['quote']}"), quoted.end()
    opened = _OPEN_QUOTE.match(line, start)
    if opened and line[opened.end() :].strip() and opened[0][-1] != line[match.start() - 1 : match.start()]:
        return opened[0] + MASK, max(end, opened.end())  # the text goes on in the next line
    bare = _BARE.match(line, start)
    before = line[max(0, match.start() - 200) : match.start()]
    at_start = _LINE_START.fullmatch(before) is not None
    prose = match["sign"] == ":" and not at_start and not _IN_BRACES.search(before)
    if bare is None or prose or _is_code(bare[0]):
        return line[start : bare.end() if bare else start], bare.end() if bare else start
    # In a settings file the value goes to the end of the line.
    whole = at_start and not line[bare.end() :].lstrip().startswith(("#", "//"))
    return MASK, end if whole else bare.end()


_REFERENCE = re.compile(
    r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|\$\{\{[^}]*\}\}|\{\{[^}]*\}\}|<[^>]*>|%\([^)]*\)s|\*+|\S{0,8}(?:\.\.\.|…)"
    r"|(?:(?:bearer|basic|token)\s+)?(?:\{[A-Za-z_][^{}]*\}|\S{0,8}(?:\.\.\.|…))",
    re.IGNORECASE,
)
_HARMLESS = _words(
    "none null nil true false str string int bytes bool any optional secretstr required default undefined"
)
_ROOTS = _words(
    "self cls args os sys config cfg conf settings env environ process opts options opt params request req ctx context "
    "hparams flags kwargs this st secrets vault keyring var local module data path spec response resp result event "
    "message client user account item node obj"
)
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\??\.[A-Za-z_][A-Za-z0-9_]*)*")


def _is_reference(text: str) -> bool:
    """A text that only stands for the secret: ``$TOKEN``, ``Bearer {token}``, ``<token>``, ``***``, or the mask."""
    return text == MASK or _REFERENCE.fullmatch(text) is not None


def _is_code(word: str) -> bool:
    """Whether an unquoted value is code that fetches the secret rather than the secret itself."""
    word = word.rstrip(":")
    if not word or _is_reference(word) or word.lower() in _HARMLESS or word == MASK.rstrip("]"):
        return True
    if word[0] in "|&*@" or any(sign in word for sign in "([{"):
        return True
    if not _DOTTED.fullmatch(word):
        return False
    first, *others = word.split(".")
    return is_secret_name(others[-1] if others else first) or (bool(others) and first.lower() in _ROOTS)


_ELEMENT = re.compile(r"<([A-Za-z_][A-Za-z0-9_.:-]{0,100})>([^<>]+)</")


def _element(match: re.Match[str]) -> str:
    """``<password>x</password>``."""
    hidden = is_secret_name(match[1]) and not _is_reference(match[2].strip())
    return f"<{match[1]}>{MASK}</" if hidden else match[0]


_OPTIONS = re.compile(
    r"(?P<option>(?<![A-Za-z0-9-])--?[A-Za-z][A-Za-z0-9_-]{1,60})(?P<space>[ \t]{1,8})(?P<value>[^\s\"'-][^\s\"']*)"
)


def _option(match: re.Match[str]) -> str:
    """``--password x`` in a script or a document."""
    if not is_secret_name(match["option"]) or _is_reference(match["value"].strip("`,.)")):
        return match[0]
    return match["option"] + match["space"] + MASK


_CANDIDATE = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{20,}={0,2}(?![A-Za-z0-9+/=_-])")
_DIGEST = re.compile(r"sha(?:256|384|512)-")
_DATA_URL = re.compile(r"data:[a-z+/.;-]*base64,$", re.IGNORECASE)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_HEX = re.compile(r"[0-9a-f]{7,}|[0-9A-F]{7,}")
_LONGEST = 512
"""Characters of a random-looking secret; what is longer is data."""
_MOST_RANDOM = 2.5
"""Characters a part (a capitalised word, a row of capitals, a number) on average, up to which a text looks random. Drawn
from 62 characters it is about 2; names of models, paths and identifiers have 2.7 and more.
"""

_LONG_PIECE = 12
"""Letters and digits in a row; names of variables have underscores more often."""


def _random(match: re.Match[str]) -> str:
    """The mask for a text that looks drawn at random from letters of both cases and digits; otherwise the text."""
    text = match[0]
    before = match.string[max(0, match.start() - 40) : match.start()]
    if len(text) > _LONGEST or _DIGEST.match(text) or _DATA_URL.search(before):
        return text
    pieces = [piece for piece in re.split(r"[+/=_-]+", text) if not _HEX.fullmatch(piece)]
    parts = [part for piece in pieces for part in _PARTS.findall(piece)]
    letters = sum(map(len, parts))
    if letters < 20 or letters > _MOST_RANDOM * len(parts) or max(map(len, pieces)) < _LONG_PIECE:
        return text
    mixed = any(map(str.isupper, text)) and any(map(str.islower, text)) and any(map(str.isdigit, text))
    return MASK if mixed else text


_SECRET_FILE = re.compile(
    r"\.env(?:\.(?!example|sample|template|dist).*)?|.*\.env|[._]netrc|\.pypirc|\.npmrc|\.pgpass|\.my\.cnf|\.htpasswd"
    r"|\.git-credentials|\.dockercfg|id_(?:rsa|dsa|ecdsa|ed25519)|.*\.(?:pem|key|p12|pfx|jks|keystore|kdbx|ppk|gpg|asc)"
    r"|(?:credentials?|secrets?)(?:\.(?:json|ya?ml|toml|ini|cfg|txt|csv))?|(?:client_secret|service[_-]?account).*\.json",
    re.IGNORECASE,
)


def is_secret_file(path: str) -> bool:
    """Whether the file ``path`` is, by its name, made for secrets.

    >>> [is_secret_file(path) for path in ("config/.env", "keys/server.pem", "train.py", ".env.example", "keyboard.py")]
    [True, True, False, False, False]
    """
    return _SECRET_FILE.fullmatch(path.rpartition("/")[2]) is not None
