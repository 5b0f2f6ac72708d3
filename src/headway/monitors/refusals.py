"""Why RE2 refuses an expression, in words, and what to write instead."""

from __future__ import annotations

import re

from headway.errors import InvalidRequestError

_LINEAR = "Expressions run in time linear in the log, which rules this out"
_ADVICE = (
    (r"\(\?<?[=!]", f"{_LINEAR}: match what stands around too, and put a group around the number."),
    (
        r"\\[1-9]|\(\?P=|\\k<|\\g<",
        f"{_LINEAR}: write the repeated part out again.",
    ),
    (r"\(\?>|[*+?}]\+", f"{_LINEAR}, and needs it not: write the group or repetition plainly."),
    (r"\(\?\(|\(\?\||\(\?R|\(\?&", f"{_LINEAR}: write each case as an alternative with |."),
    (r"\\Z", r"Write \z, or $: a line has one end."),
    (r"\\[hH]", r"Write [ \t]."),
    (r"\\R", "A line holds no line break."),
    (r"\\u[0-9A-Fa-f]{4}", r"Write \x{0041}, or the character itself."),
    (r"\\K|\\G", "Put a group around the number instead."),
    (r"\(\?[a-zA-Z-]*[xua]", "Only the flags i, m, s and U can be set; comments and free spacing cannot."),
    (r"\(\?#", "Leave the comment out."),
)
"""What stands in the refused part, and the hint for it."""

_SAID = {
    "missing ): ": "a ( is not closed",
    "missing ]: ": "a [ is not closed",
    "unexpected ): ": "a ) has no (",
    "missing argument to repetition operator: ": "there is nothing before it to repeat",
    "no argument for repetition operator: ": "there is nothing before it to repeat",
    "bad repetition operator: ": "it repeats a repetition",
    "invalid repetition size: ": "a part is repeated at most 1000 times",
    "invalid escape sequence: ": "RE2 does not know this escape",
    "invalid perl operator: ": "RE2 does not know this kind of group",
    "invalid named capture group: ": "a group is named with letters, digits and _",
    "duplicate capture group name: ": "two groups have one name",
    "invalid character class range: ": "RE2 does not know this class of characters",
    "invalid character class: ": "RE2 does not know this class of characters",
    "trailing \\": "it ends with a single backslash",
    "invalid UTF-8": "it is no valid text",
    "pattern too large": "it is too large when its repetitions are written out",
}


def refusal(regex: str, said: str) -> InvalidRequestError:
    """The error for ``regex``, of which RE2 said ``said``.

    >>> str(refusal(r"(?=a)", "invalid perl operator: (?=")).partition(".")[0]
    "The expression '(?=a)' cannot be used: RE2 does not know this kind of group, '(?='"
    """
    for beginning, words in _SAID.items():
        if said.startswith(beginning.rstrip()):
            part = said.removeprefix(beginning)
            where = f", {part!r}" if part and part != said and part != regex else ""
            return _error(regex, f"{words}{where}", _advice(regex, part))
    return _error(regex, said, _advice(regex, said))


def too_many_groups(regex: str, groups: int) -> InvalidRequestError:
    """The error for an expression with more than two groups."""
    reason = f"it has {groups} groups, and the first is the value, the second the step"
    return _error(regex, reason, "Write (?:…) for a group that only holds together.")


def too_large(regex: str) -> InvalidRequestError:
    """The error for an expression that is too large to be fast on every text."""
    hint = "Write * or + where a count does not matter, and \\w or [A-Za-z] for \\p{L}."
    return _error(regex, "it is too large when its repetitions are written out", hint)


def _advice(regex: str, part: str) -> str | None:
    for text in (part, regex):
        for pattern, hint in _ADVICE:
            if re.search(pattern, text):
                return hint
    return "Its syntax is that of RE2: https://github.com/google/re2/wiki/Syntax."


def _error(regex: str, reason: str, hint: str | None) -> InvalidRequestError:
    shown = regex if len(regex) <= 200 else regex[:200] + "…"
    return InvalidRequestError(f"The expression {shown!r} cannot be used: {reason}.", hint=hint)
