"""What an event says: scalars as numbers, and histograms, images, sounds and texts as bytes and numbers of ours.

Both generations are read: values of TensorFlow 1 and torch (``simple_value``, ``histo``, ``image``, ``audio``) and tensors
with a plugin's name beside them (TensorFlow 2, Keras, and everybody's texts and hyperparameters).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from headway.domain.metrics import EntryType
from headway.errors import MissingExtraError
from headway.tracking.integrations.tensorboard.records import Checksum


@dataclass(frozen=True)
class Medium:
    """One thing to look at. ``content`` is bytes of a picture or sound, a text, or (edges, counts) of a histogram."""

    name: str
    type: EntryType
    content: Any
    index: int | None = None
    """Its place among several under one name."""


@dataclass
class EventContent:
    """One event, as far as it is understood."""

    step: int
    time: float
    """Seconds since 1970."""
    scalars: dict[str, float] = field(default_factory=dict)
    media: list[Medium] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    """Kinds of what is not imported, by count: graphs, embeddings, meshes and the like."""


class EventDecoder:
    """Understands the events of one file, which are to be given in their order: a tag's plugin is named only once.

    Args:
        tags: Plugins by tag as an earlier decoder of the same file left them in :attr:`tags`.

    Raises:
        MissingExtraError: The package tensorboard is not installed.
    """

    def __init__(self, tags: dict[str, str] | None = None) -> None:
        self.tags = dict(tags or {})
        try:
            from google.protobuf.message import DecodeError
            from tensorboard.compat.proto import event_pb2
            from tensorboard.util import tensor_util
        except ModuleNotFoundError as error:
            raise MissingExtraError("Importing TensorBoard logs", "tensorboard") from error
        self._event, self._error, self._array = event_pb2.Event, DecodeError, tensor_util.make_ndarray

    def decode(self, payload: bytes) -> EventContent | None:
        """The event in a record's payload; None when it is none."""
        try:
            event = self._event.FromString(payload)
        except self._error:
            return None
        content = EventContent(event.step, event.wall_time)
        kind = event.WhichOneof("what")
        if kind == "summary":
            for value in event.summary.value:
                self._take(value, content)
        elif kind not in (None, "file_version", "session_log", "log_message"):
            content.skipped[kind] += 1
        return content

    def _take(self, value: Any, content: EventContent) -> None:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            content.scalars[value.tag] = value.simple_value
        elif kind == "image":
            content.media.append(Medium(value.tag, EntryType.IMAGE, value.image.encoded_image_string))
        elif kind == "audio":
            content.media.append(Medium(value.tag, EntryType.AUDIO, value.audio.encoded_audio_string))
        elif kind == "histo":
            self._add_histogram(value.tag, _old_histogram(value.histo), content)
        else:
            self._take_plugin(value, kind, content)

    def _take_plugin(self, value: Any, kind: str | None, content: EventContent) -> None:
        plugin = self._plugin(value)
        if plugin == "hparams":
            content.config.update(_hyperparameters(value.metadata.plugin_data.content))
            return
        try:
            array = self._array(value.tensor) if kind == "tensor" else None
        except (TypeError, ValueError):
            array = None
        if array is None or not self._take_array(value.tag, plugin, array, content):
            content.skipped[plugin or "tensor"] += 1

    def _plugin(self, value: Any) -> str:
        named = value.metadata.plugin_data.plugin_name
        if named:
            self.tags[value.tag] = named
        return named or self.tags.get(value.tag, "")

    def _take_array(self, tag: str, plugin: str, array: Any, content: EventContent) -> bool:
        if plugin == "text":
            text = "\n".join(_text(item) for item in array.flatten().tolist())
            content.media.append(Medium(tag, EntryType.TEXT, text))
        elif plugin == "images" and array.ndim == 1 and array.size >= 2:
            # A picture's width and height, and then one or more pictures.
            content.media += _numbered(tag, EntryType.IMAGE, array.tolist()[2:])
        elif plugin == "audio":
            clips = array.reshape(array.shape[0], -1)[:, 0] if array.ndim else array.reshape(1)
            content.media += _numbered(tag, EntryType.AUDIO, clips.tolist())
        elif plugin == "histograms" and array.ndim == 2 and array.shape[1] == 3:
            edges = [*array[:, 0].tolist(), *array[-1:, 1].tolist()]
            self._add_histogram(tag, (edges, array[:, 2].tolist()), content)
        elif plugin in ("", "scalars") and array.size == 1 and array.dtype.kind not in "OSUc":
            content.scalars[tag] = float(array.reshape(()))
        else:
            return False
        return True

    def _add_histogram(self, tag: str, found: tuple[list[float], list[float]], content: EventContent) -> None:
        if found[1]:
            content.media.append(Medium(tag, EntryType.HISTOGRAM, ascending(*found)))
        else:
            content.skipped["empty histogram"] += 1


def masked_checksum() -> Checksum:
    """TensorBoard's masked CRC-32C.

    Raises:
        MissingExtraError: The package tensorboard is not installed.
    """
    try:
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
    except ModuleNotFoundError as error:
        raise MissingExtraError("Importing TensorBoard logs", "tensorboard") from error
    found: Checksum = masked_crc32c
    return found


def _numbered(tag: str, kind: EntryType, items: list[Any]) -> list[Medium]:
    return [Medium(tag, kind, item, index if len(items) > 1 else None) for index, item in enumerate(items)]


def ascending(edges: list[float], counts: list[float]) -> tuple[list[float], list[int | float]]:
    """Edges that ascend, with the counts of buckets without any width in the bucket before or behind them.

    >>> ascending([0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ascending([2.0, 2.0], [5.0])
    (([0.0, 1.0], [6]), ([1.5, 2.5], [5]))
    """
    found, totals, waiting = edges[:1], list[float](), 0.0
    for edge, count in zip(edges[1:], counts, strict=True):
        if edge > found[-1]:
            found.append(edge)
            totals.append(count + waiting)
            waiting = 0.0
        elif totals:
            totals[-1] += count
        else:
            waiting += count
    if not totals:
        half = max(0.5, abs(found[0]) * 1e-6)
        found, totals = [found[0] - half, found[0] + half], [waiting]
    return found, [int(count) if float(count).is_integer() else count for count in totals]


def _old_histogram(histogram: Any) -> tuple[list[float], list[float]]:
    """Edges and counts of a HistogramProto: empty buckets at the ends, which reach to the largest float, are left out."""
    counts = list(histogram.bucket)
    filled = [index for index, count in enumerate(counts) if count > 0]
    if not filled:
        return [], []
    first, last = filled[0], filled[-1]
    inner = list(histogram.bucket_limit[first:last])
    return [histogram.min, *inner, histogram.max], counts[first : last + 1]


def _hyperparameters(content: bytes) -> dict[str, Any]:
    """The values of a session's hyperparameters; nothing for the plugin's other messages."""
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from tensorboard.plugins.hparams import plugin_data_pb2

    try:
        found = plugin_data_pb2.HParamsPluginData.FromString(content)
    except DecodeError:
        return {}
    values: dict[str, Any] = {}
    for name, value in found.session_start_info.hparams.items():
        kind = value.WhichOneof("kind")
        number = value.number_value if kind == "number_value" else None
        values[name] = number if number is not None else MessageToDict(value)
    return values


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
