"""Figures of matplotlib and plotly. Neither is imported: the figure brings its own library."""

from __future__ import annotations

import io
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import InvalidRequestError
from headway.tracking.media import Media, is_kind, one_of
from headway.tracking.pictures import look

PLOTLY_TYPE = "application/vnd.plotly.v1+json"
FORMATS = {"png": "image/png", "svg": "image/svg+xml"}
MAX_DPI = 1200


class Figure(Media):
    """A figure: of matplotlib as a picture, of plotly as its JSON.

    Args:
        figure: A matplotlib figure (or something that has one as ``figure``, such as axes or a seaborn grid), or a plotly
            figure.
        format: ``png`` or ``svg``, for matplotlib.
        dpi: Dots per inch of a PNG; the figure's own by default.
        caption: A line that is shown with it.
    """

    type = EntryType.PLOT

    def __init__(
        self, figure: Any, *, format: str = "png", dpi: float | None = None, caption: str | None = None
    ) -> None:
        super().__init__(caption=caption)
        one_of(format, FORMATS, "The format of a figure")
        if dpi is not None and not 1 <= dpi <= MAX_DPI:
            raise InvalidRequestError(f"A figure has 1 to {MAX_DPI} dots per inch, not {dpi!r}.")
        self._details: dict[str, Any] = {}
        if is_kind(figure, "plotly.BaseFigure"):
            self._media_type = PLOTLY_TYPE
            self._data = figure.to_json().encode()
            self._details = {"library": "plotly"}
        else:
            self._media_type = FORMATS[format]
            self._data = _drawn(_matplotlib_figure(figure), format, dpi)
            self._details = {"library": "matplotlib", **_size(self._data)}

    def content(self) -> tuple[bytes, str]:
        return self._data, self._media_type

    def details(self) -> dict[str, Any]:
        return self._details


def _matplotlib_figure(value: Any) -> Any:
    for candidate in (value, getattr(value, "figure", None)):
        if is_kind(candidate, "matplotlib.Figure", "matplotlib.FigureBase"):
            return candidate
    raise InvalidRequestError(
        f"A figure is one of matplotlib or plotly, not {type(value).__name__}.",
        hint="Log pictures as Image, and pyplot's figure as plt.gcf().",
    )


def _drawn(figure: Any, format: str, dpi: float | None) -> bytes:
    buffer = io.BytesIO()
    # Without a date and the library's version the same figure is the same blob.
    metadata = {"Software": None} if format == "png" else {"Date": None, "Creator": None}
    figure.savefig(buffer, format=format, dpi="figure" if dpi is None else dpi, metadata=metadata)
    return buffer.getvalue()


def _size(data: bytes) -> dict[str, int]:
    picture = look(data[:64])
    return {} if picture is None else {"width": picture.width, "height": picture.height}
