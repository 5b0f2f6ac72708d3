"""Sources: where the files of an input come from, as people write it."""

from __future__ import annotations

from headway.domain.base import did_you_mean

ARTIFACT, MODELS, RUNS, OBJECTS, HTTPS = "artifact:", "models:/", "runs:/", "s3://", "https://"
SCHEMES = (ARTIFACT, MODELS, RUNS, OBJECTS, HTTPS)
FORMS = "artifact:NAME:VERSION, models:/NAME/VERSION, runs:/RUN/PATH, s3://BUCKET/PREFIX or https://…"


def is_source(text: str) -> bool:
    """Whether ``text`` has the form of a source.

    >>> is_source("artifact:digits:latest"), is_source("data/train.csv")
    (True, False)
    """
    return text.startswith(SCHEMES)


def source_hint(text: str) -> str:
    """What to write instead of a text that is no source.

    >>> source_hint("artefact:digits:v1"), source_hint("digits:v1")
    ("Did you mean 'artifact:digits:v1'?", "Did you mean 'artifact:digits:v1'?")
    """
    if text.startswith("http://"):
        return "Only https:// is fetched."
    scheme, colon, rest = text.partition(":")
    for known in SCHEMES if colon else ():
        if did_you_mean(scheme, [known.partition(":")[0]]) is not None:
            return f"Did you mean {known + rest.lstrip('/')!r}?"
    if colon and scheme and rest and not rest.startswith("/"):
        return f"Did you mean {ARTIFACT + text!r}?"
    return f"Write {FORMS}."
