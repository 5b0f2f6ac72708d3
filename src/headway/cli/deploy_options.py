"""What the commands of ``headway deploy`` share: options, and texts such as ``v2=90,v3=10`` as values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from headway.domain.deployments import Scaling

T = TypeVar("T")

NameArgument = Annotated[str, typer.Argument(help="Deployment id or name.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return once it has got there.")]
MinReplicasOption = Annotated[
    int | None, typer.Option("--min-replicas", help="Scale by itself, down to so many; 0 ends the last one when idle.")
]
MaxReplicasOption = Annotated[int | None, typer.Option("--max-replicas", help="Scale by itself, up to so many.")]
TargetOption = Annotated[
    float | None, typer.Option("--target-in-flight", help="Requests in flight at a replica above which one is added.")
]
IdleOption = Annotated[
    float | None, typer.Option("--idle-seconds", help="After so long with too little to do a replica is taken away.")
]
EnvOption = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable; KEY alone passes it on.")
]
StickyOption = Annotated[
    str | None, typer.Option("--sticky", metavar="HEADER", help="The same value of this header, the same version.")
]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", help="How long a request may take in all.")
]
HedgeOption = Annotated[
    str | None,
    typer.Option(
        "--hedge-after", help="Seconds after which a second copy of a slow prediction is sent; none switches it off."
    ),
]
RolloutOption = Annotated[
    str | None,
    typer.Option(
        "--rollout", help="rolling, or recreate: where new replicas find no room beside the old, those end first."
    ),
]
MaxWaitingOption = Annotated[
    int | None, typer.Option("--max-waiting", help="Requests at once, beyond which the next is answered 429.")
]
GuardOption = Annotated[
    str | None,
    typer.Option(
        "--guard",
        metavar="RULES",
        help="When a new revision is taken back: error-rate=0.05,p95-ratio=2,p95-seconds=1,requests=50,seconds=600.",
    ),
]
BatchingOption = Annotated[
    str | None, typer.Option("--batching", metavar="RULES", help="rows=256,wait-ms=0: what is predicted together.")
]

GUARD_WORDS = {
    "error-rate": "max_error_rate",
    "p95-ratio": "max_p95_ratio",
    "p95-seconds": "max_p95_seconds",
    "requests": "minimum_requests",
    "seconds": "watch_seconds",
}
BATCHING_WORDS = {"rows": "max_rows", "wait-ms": "max_wait_ms"}


def scaling_of(
    minimum: int | None,
    maximum: int | None,
    target: float | None,
    idle: float | None,
    known: Scaling | None = None,
) -> dict[str, Any] | None:
    """The scaling that options ask for, None when there is none of them; what they leave out is as in ``known``."""
    words = {"minimum": minimum, "maximum": maximum, "target_in_flight": target, "idle_seconds": idle}
    given = {name: value for name, value in words.items() if value is not None}
    if not given:
        return None
    if minimum is not None and maximum is not None and maximum < minimum:
        from headway.errors import InvalidRequestError

        raise InvalidRequestError(f"--max-replicas {maximum} is below --min-replicas {minimum}.")
    base = {} if known is None else known.model_dump()
    return {**base, **given}


def parts_of(text: str, option: str, read: Callable[[str], T]) -> dict[str, T]:
    """``a=1,b=2`` as a mapping, each value read by ``read``."""
    from headway.errors import InvalidRequestError

    found: dict[str, T] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, marker, value = (piece.strip() for piece in part.rpartition("="))
        try:
            if not key or not marker:
                raise ValueError
            number = read(value)
        except ValueError:
            raise InvalidRequestError(f"{option}: {part!r} is not NAME=NUMBER.", hint=_example(option)) from None
        if key in found:
            raise InvalidRequestError(f"{option} names {key!r} twice.")
        found[key] = number
    if not found:
        raise InvalidRequestError(f"{option} is empty.", hint=_example(option))
    return found


def _example(option: str) -> str:
    examples = {
        "--traffic": "v2=90,v3=10",
        "--replicas": "2, or v2=1,v3=2",
        "--guard": "error-rate=0.05,requests=50",
        "--batching": "rows=64,wait-ms=2",
    }
    return f"Write {option} {examples[option]}."


def weights_of(text: str) -> dict[str, int]:
    """``v2=90,v3=10``."""
    return parts_of(text, "--traffic", _weight)


def _weight(text: str) -> int:
    from headway.errors import InvalidRequestError

    if re.fullmatch(r"[0-9]*[.][0-9]+", text):
        raise InvalidRequestError(
            f"--traffic: {text} is no weight: weights are whole numbers.", hint=_example("--traffic")
        )
    return int(text)


def counts_of(text: str) -> int | dict[str, int]:
    """``2``, or ``v2=1,v3=2``."""
    return int(text) if re.fullmatch(r"\s*[0-9]{1,9}\s*", text) else parts_of(text, "--replicas", int)


def rules_of(text: str, option: str, words: Mapping[str, str]) -> dict[str, float]:
    """``rows=64,wait-ms=2`` with the words that are known, as fields of a record."""
    from headway.domain.base import did_you_mean
    from headway.errors import InvalidRequestError

    found = {}
    for word, value in parts_of(text, option, float).items():
        if word not in words:
            hint = did_you_mean(word, words) or f"It has {', '.join(words)}."
            raise InvalidRequestError(f"{option} has no {word!r}.", hint=hint)
        found[words[word]] = value
    return found


def hedge_of(text: str | None) -> float | None:
    """The seconds of ``--hedge-after``; None where it is absent, or ``none``."""
    from headway.errors import InvalidRequestError

    if text is None or text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidRequestError(
            f"--hedge-after {text}: that is no number of seconds.", hint="Write 0.2, or none."
        ) from None


def seconds_of(text: str, option: str) -> float:
    """``90``, ``90s``, ``5m``, ``1h`` or ``1d`` in seconds.

    >>> seconds_of("1.5m", "--since")
    90.0
    """
    from headway.errors import InvalidRequestError

    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhd]?)\s*", text)
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]] if found else math.nan
    if not seconds > 0:
        raise InvalidRequestError(f"{option}: {text!r} is no span of time.", hint=f"Write {option} 30s, 5m or 1h.")
    return seconds
