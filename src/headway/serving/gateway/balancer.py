"""Which version and which replica get a request."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

GOLDEN = (math.sqrt(5) - 1) / 2


class Weighted(Protocol):
    """Something with a share of the traffic."""

    @property
    def key(self) -> str: ...

    @property
    def weight(self) -> int: ...


class Loaded(Protocol):
    """Something with work to do."""

    @property
    def outstanding(self) -> int: ...


AnyWeighted = TypeVar("AnyWeighted", bound=Weighted)
AnyLoaded = TypeVar("AnyLoaded", bound=Loaded)


class Shares:
    """Chooses by weight, evenly: multiples of the golden ratio modulo one fill the unit interval so that the shares of
    ``n`` choices are right within a few parts of ``n``, and any periodic part of them (a client that alternates two kinds of
    request) has the right shares too, which taking turns would not give it. Source: Kronecker sequences, as in
    Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", section 3.1.
    """

    def __init__(self) -> None:
        self._point = random.random()  # noqa: S311

    def choose(self, candidates: Sequence[AnyWeighted]) -> AnyWeighted:
        """One of ``candidates``, of which there is at least one, each with a weight above 0."""
        if len(candidates) == 1:
            return candidates[0]
        self._point = (self._point + GOLDEN) % 1.0
        left = self._point * sum(each.weight for each in candidates)
        for each in candidates:
            left -= each.weight
            if left < 0:
                return each
        return candidates[-1]


def stick(candidates: Sequence[AnyWeighted], salt: str, value: bytes) -> AnyWeighted:
    """The candidate for a value of the sticky header: the same for all gateways and times; a change of weights moves as
    few values as it can. Source: weighted rendezvous hashing, Schindelhauer and Schomaker (2005).
    """
    return max(candidates, key=lambda each: _score(each, salt, value))


def _score(candidate: Weighted, salt: str, value: bytes) -> float:
    digest = blake2b(value, digest_size=8, key=f"{salt}/{candidate.key}".encode()[:64]).digest()
    share = (int.from_bytes(digest, "big") + 0.5) / 2.0**64
    return -candidate.weight / math.log(share)


def less_loaded(backends: Sequence[AnyLoaded]) -> AnyLoaded:
    """Of two at random the one with less outstanding, so that gateways that do not know of each other do not all choose
    the same one. Equals share. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
    """
    count = len(backends)
    if count == 1:
        return backends[0]
    first = int(random.random() * count)  # noqa: S311
    second = int(random.random() * (count - 1))  # noqa: S311
    if second >= first:
        second += 1
    one, other = backends[first], backends[second]
    return one if one.outstanding <= other.outstanding else other
