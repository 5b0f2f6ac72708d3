"""``python -m headway.presets NAME``: train a preset algorithm on what the environment names."""

from __future__ import annotations

import sys
from collections.abc import Callable

from headway.domain.algorithms import find_algorithm
from headway.errors import HeadwayError, MissingExtraError
from headway.presets.context import Context, opened


def program_of(name: str) -> Callable[[Context], None]:
    """The program of a preset algorithm.

    Raises:
        InvalidRequestError: There is none of that name.
        MissingExtraError: scikit-learn or pandas are not installed.
    """
    find_algorithm(name)
    try:
        from headway.presets import images, tabular
    except ImportError as error:
        raise MissingExtraError(f"The preset algorithm {name!r}", "sklearn,dataframe") from error
    programs: dict[str, Callable[[Context], None]] = {
        "logistic-regression": tabular.logistic_regression,
        "gradient-boosting": tabular.gradient_boosting,
        "k-means": tabular.k_means,
        "mlp-image-classifier": images.mlp_image_classifier,
        "linear-regression": tabular.linear_regression,
    }
    return programs[name]


def main(arguments: list[str]) -> int:
    """Train; 0 when all went well, 2 when what was given is wrong."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m headway.presets NAME\n")
        return 2
    try:
        program = program_of(arguments[0])
        with opened(find_algorithm(arguments[0])) as context:
            program(context)
    except HeadwayError as error:
        sys.stderr.write(f"error: {error}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
