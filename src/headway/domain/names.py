"""Names for runs that were given none: two words that are easy to say, and names that are unique in practice."""

from __future__ import annotations

import hashlib
import secrets
import string
import time

ADJECTIVES = """
    amber ancient autumn bold brave bright brisk calm clever copper cosmic crimson crystal curious daring dawn deep
    eager early earnest electric emerald fair fearless fleet floral fresh frosty gentle gilded glad golden graceful
    grand happy hazel hidden honest humble indigo ivory jolly keen kind lively lucid lucky lunar maple mellow merry
    mighty misty modest morning mossy nimble noble northern olive patient pearl playful polished proud quick quiet
    radiant rapid rosy royal rustic sandy serene silent silver simple sleek snowy solar steady still sunny swift
    tender tidy tranquil true velvet vivid warm western wild winter wise witty young zesty
""".split()  # noqa: SIM905 - a hundred words are read as text
NOUNS = """
    acorn anchor aspen badger bay beacon birch bison breeze bridge brook canyon cedar cliff cloud comet coral crane
    creek delta dolphin dove dune eagle ember falcon fern field finch fjord forest fox garden glacier glade grove
    harbor hawk heron hill island ivy jaguar juniper kestrel lagoon lake lantern lark leaf lily lynx maple marsh
    meadow meteor mist moon moose oak ocean orchid osprey otter owl palm peak pebble pine planet plover pond prairie
    quail quartz rain raven reef ridge river robin sail sequoia shore sky sparrow spring spruce star stone stork
    stream summit swan thicket thistle tide trail tulip valley violet wave willow wind wolf wren
""".split()  # noqa: SIM905
SUFFIX_LETTERS = string.ascii_lowercase + string.digits


def friendly_name(run: str) -> str:
    """Two words for a run, the same wherever they are asked for.

    >>> friendly_name("run1") == friendly_name("run1"), friendly_name("run1").count("-")
    (True, 1)
    """
    digest = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8], "big")
    return f"{ADJECTIVES[digest % len(ADJECTIVES)]}-{NOUNS[digest // len(ADJECTIVES) % len(NOUNS)]}"


def alternative_name(name: str, moment: float | None = None) -> str:
    """``<name>_<yymmdd>_<HHMMSS>_<six letters and digits>`` in local time, unique in practice."""
    stamp = time.strftime("%y%m%d_%H%M%S", time.localtime(moment))
    suffix = "".join(secrets.choice(SUFFIX_LETTERS) for _ in range(6))
    return f"{name[:230]}_{stamp}_{suffix}"
