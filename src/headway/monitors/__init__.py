"""Expressions over the lines of a log, and the points that they find. See docs/internals/estimator.md, section 3."""

from headway.monitors.expressions import Expression, Match, check_sample, compile_expression
from headway.monitors.numbers import Point

__all__ = ["Expression", "Match", "Point", "check_sample", "compile_expression"]
