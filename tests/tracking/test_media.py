"""Media: what is stored is what was given, exactly; what cannot be is refused with the reason."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
import wave
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import PIL.features
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from headway.domain.metrics import Entry, EntryType
from headway.errors import HeadwayError, InvalidRequestError, PayloadTooLargeError
from headway.tracking import media as media_module
from headway.tracking.audio import Audio
from headway.tracking.blobs import LocalBlobs
from headway.tracking.figures import PLOTLY_TYPE, Figure
from headway.tracking.histograms import Histogram
from headway.tracking.images import Image
from headway.tracking.media import File, Media, Text, entries_of, harmless_type
from headway.tracking.pictures import encode_png, look

quick = settings(deadline=None, database=None)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    (tmp_path / "run").mkdir()
    return LocalBlobs(tmp_path / "run")


def data_of(media: Media) -> bytes:
    content, _ = media.content()
    return content if isinstance(content, bytes) else content.read_bytes()


def pixels_of(image: Image) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(data_of(image))))


class Tensor:
    """What PyTorch's tensors have, for tests without it: channels first, on a device, with a gradient."""

    __module__ = "torch"

    def __init__(self, array: np.ndarray, state: str = "gradient") -> None:
        self._array, self._state = array, state

    def detach(self) -> Tensor:
        return Tensor(self._array, "device")

    def cpu(self) -> Tensor:
        assert self._state == "device"
        return Tensor(self._array, "here")

    def numpy(self) -> np.ndarray:
        if self._state != "here":
            raise RuntimeError(f"Can't call numpy() on a tensor: {self._state}")
        return self._array


class TestEntries:
    def test_what_an_entry_says(self, blobs: LocalBlobs) -> None:
        image = Image(np.zeros((4, 6), np.uint8), caption="nothing <b>yet</b>")
        entry = image.to_entry(blobs.keep)
        data = blobs.path(entry["digest"]).read_bytes()
        assert entry == {
            "type": "image",
            "digest": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "media_type": "image/png",
            "details": {"width": 6, "height": 4, "caption": "nothing <b>yet</b>"},
        }
        Entry(run_id="r", name="x", time_ms=1, **entry)

    def test_a_list_gives_each_its_place(self, blobs: LocalBlobs) -> None:
        found = entries_of([Text("one"), Text("two"), Text("one")], blobs.keep)
        assert found is not None
        assert [entry["details"]["index"] for entry in found] == [0, 1, 2]
        assert found[0]["digest"] == found[2]["digest"] != found[1]["digest"]

    @pytest.mark.parametrize("value", [1, 0.5, "text", None, [], [1, 2], (), {}, np.float64(1), np.zeros(3), object()])
    def test_what_is_no_media(self, value: Any, blobs: LocalBlobs) -> None:
        assert entries_of(value, blobs.keep) is None

    def test_lists_that_mix_or_are_too_long(self, blobs: LocalBlobs) -> None:
        with pytest.raises(InvalidRequestError, match="item 1 is int"):
            entries_of([Text("one"), 5], blobs.keep)
        with pytest.raises(PayloadTooLargeError, match="at most 1000"):
            entries_of([Text("one")] * 1001, blobs.keep)
        assert list(blobs.pending()) == []

    def test_plain_figures_images_and_frames_are_recognised(self, blobs: LocalBlobs) -> None:
        import pandas as pd
        import plotly.graph_objects as go
        from matplotlib.figure import Figure as MatplotlibFigure

        values = [MatplotlibFigure(), go.Figure(), PIL.Image.new("RGB", (1, 1)), pd.DataFrame({"a": [1]})]
        found = [entries_of(value, blobs.keep) for value in values]
        assert [entry[0]["type"] for entry in found if entry] == ["plot", "plot", "image", "table"]

    def test_finding_out_imports_nothing(self) -> None:
        code = (
            "import sys\nfrom headway.tracking.media import entries_of\n"
            "assert entries_of(object(), None) is None and entries_of([1.0], None) is None\n"
            "print([m for m in ('numpy', 'PIL', 'matplotlib', 'plotly', 'pandas', 'torch') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.stdout == "[]\n", done.stderr

    def test_too_large_is_said_before_anything_is_copied(
        self, blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(media_module, "MAX_BYTES", 10)
        (tmp_path / "large").write_bytes(b"x" * 11)
        with pytest.raises(PayloadTooLargeError, match="11 bytes"):
            File(tmp_path / "large").to_entry(blobs.keep)
        assert list(blobs.pending()) == []

    @pytest.mark.parametrize("caption", ["x" * 4097, "\ud800", 5])
    def test_captions_that_are_refused(self, caption: Any) -> None:
        with pytest.raises(InvalidRequestError, match="caption"):
            Text("x", caption=caption)


class TestTextAndFiles:
    def test_text(self, blobs: LocalBlobs) -> None:
        text = "<script>alert(1)</script>\r\n\0 größe 日本"
        entry = Text(text).to_entry(blobs.keep)
        assert blobs.path(entry["digest"]).read_bytes() == text.encode()
        assert entry["media_type"] == "text/plain; charset=utf-8"
        assert Text(text, markdown=True).content()[1] == "text/markdown; charset=utf-8"

    @pytest.mark.parametrize("text", [5, b"bytes", None, "\udcff"])
    def test_what_is_no_text(self, text: Any) -> None:
        with pytest.raises(InvalidRequestError):
            Text(text)

    def test_a_text_that_is_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(media_module, "MAX_TEXT", 5)
        with pytest.raises(PayloadTooLargeError, match="at most 5 bytes, not 6"):
            Text("äöü")

    def test_a_file_is_taken_as_it_is_when_it_is_logged(self, blobs: LocalBlobs, tmp_path: Path) -> None:
        (tmp_path / "notes.csv").write_bytes(b"a,b\n")
        file = File(str(tmp_path / "notes.csv"))
        (tmp_path / "notes.csv").write_bytes(b"a,b\n1,2\n")
        entry = file.to_entry(blobs.keep)
        assert (entry["type"], entry["media_type"], entry["details"]) == ("file", "text/csv", {"name": "notes.csv"})
        assert blobs.path(entry["digest"]).read_bytes() == b"a,b\n1,2\n"

    def test_a_file_that_is_gone(self, blobs: LocalBlobs, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="no file is"):
            File(tmp_path)
        (tmp_path / "a.txt").write_text("x")
        file = File(tmp_path / "a.txt")
        (tmp_path / "a.txt").unlink()
        with pytest.raises(InvalidRequestError, match="No such file"):
            file.to_entry(blobs.keep)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a.html", "application/octet-stream"),
            ("a.svg", "application/octet-stream"),
            ("a.xhtml", "application/octet-stream"),
            ("a.js", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
            ("a.json.gz", "application/octet-stream"),
            ("a.png", "image/png"),
            ("a.mp4", "video/mp4"),
            ("a.pdf", "application/pdf"),
        ],
    )
    def test_no_type_that_a_browser_executes(self, name: str, expected: str) -> None:
        assert harmless_type(name) == expected


class TestImages:
    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (1, 1), (1, 300, 3), (300, 1)])
    def test_bytes_go_through_unchanged(self, shape: tuple[int, ...]) -> None:
        array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        image = Image(array)
        assert np.array_equal(pixels_of(image), array.squeeze(axis=2) if shape[2:] == (1,) else array)
        assert image.details() == {"width": shape[1], "height": shape[0]}

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_channels_first(self, channels: int) -> None:
        array = np.random.default_rng(2).integers(0, 256, (channels, 5, 7), np.uint8)
        expected = array.transpose(1, 2, 0).squeeze()
        assert np.array_equal(pixels_of(Image(array)), expected)
        assert np.array_equal(pixels_of(Image(Tensor(array))), expected)

    def test_where_both_ends_could_be_channels(self) -> None:
        array = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
        assert np.array_equal(pixels_of(Image(array)), array)
        assert np.array_equal(pixels_of(Image(Tensor(array))), array.transpose(1, 2, 0))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floats(self, dtype: Any) -> None:
        array = np.array([[0, 0.5, 1, 0.2]], dtype)
        assert pixels_of(Image(array)).tolist() == [[0, 128, 255, 51]]

    def test_whole_numbers_and_booleans(self) -> None:
        assert pixels_of(Image(np.array([[0, 255, 7]], np.int64))).tolist() == [[0, 255, 7]]
        assert pixels_of(Image(np.array([[True, False]]))).tolist() == [[255, 0]]
        assert pixels_of(Image([[0, 255], [1, 2]])).tolist() == [[0, 255], [1, 2]]

    @pytest.mark.parametrize("array", [[[-5.0, 5.0, 0.0]], [[1e308, -1e308, 0.0]], [[0, 65535, 32768]]])
    def test_normalize(self, array: list[list[float]]) -> None:
        low_high = pixels_of(Image(np.array(array), normalize=True))
        assert sorted(low_high.ravel().tolist()) == [0, 128, 255]

    def test_normalize_what_is_all_the_same(self) -> None:
        assert pixels_of(Image(np.full((2, 2), 7.5), normalize=True)).tolist() == [[0, 0], [0, 0]]

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (np.array([[0.0, 1.5]]), "from 0 to 1"),
            (np.array([[-0.1]]), "from 0 to 1"),
            (np.array([[0, 256]]), "from 0 to 255"),
            (np.array([[math.nan]]), "NaN"),
            (np.array([[math.inf]]), "infinity"),
            (np.zeros((2, 3, 4, 3)), "list of images"),
            (np.zeros((2, 7, 5)), "channels"),
            (np.zeros(5), "shape"),
            (np.zeros((0, 5)), "shows nothing"),
            (np.array([["a"]]), "numbers"),
            ([[1, 2], [3]], "cannot be made"),
            (np.zeros((2, 2), complex), "numbers"),
            (b"", "no PNG"),
            (b"<svg onload=alert(1)>", "no PNG"),
            (b"\x89PNG\r\n\x1a\n", "no PNG"),
            ("gone.png", "no file"),
            ("nul\0.png", "path"),
            (object(), "numbers"),
        ],
    )
    def test_what_is_refused(self, data: Any, words: str) -> None:
        with pytest.raises(InvalidRequestError, match=words):
            Image(data)

    def test_what_is_too_large(self) -> None:
        with pytest.raises(PayloadTooLargeError, match="pixels"):
            Image(np.broadcast_to(np.uint8(0), (20_000, 20_000)))
        with pytest.raises(PayloadTooLargeError, match="on a side"):
            Image(np.broadcast_to(np.uint8(0), (1, 70_000)))

    def test_a_later_change_of_the_array_does_not_count(self) -> None:
        array = np.zeros((2, 2), np.uint8)
        image = Image(array)
        array[:] = 9
        assert pixels_of(image).tolist() == [[0, 0], [0, 0]]

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "F"])
    def test_images_of_pil(self, mode: str) -> None:
        image = Image(PIL.Image.new("RGB", (3, 2), (200, 100, 50)).convert("L" if mode in ("I;16",) else mode))
        assert look(data_of(image)) == ("image/png", 3, 2)
        assert pixels_of(image).shape[:2] == (2, 3)

    @pytest.mark.parametrize(
        ("format", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif")]
    )
    def test_files_and_bytes_stay_as_they_are(
        self, format: str, media_type: str, tmp_path: Path, blobs: LocalBlobs
    ) -> None:
        buffer = io.BytesIO()
        PIL.Image.effect_noise((33, 21), 50).save(buffer, format=format)
        (tmp_path / "picture").write_bytes(buffer.getvalue())
        for given_data in (
            buffer.getvalue(),
            bytearray(buffer.getvalue()),
            tmp_path / "picture",
            str(tmp_path / "picture"),
        ):
            image = Image(given_data)
            assert image.details() == {"width": 33, "height": 21}
            entry = image.to_entry(blobs.keep)
            assert entry["media_type"] == media_type
            assert blobs.path(entry["digest"]).read_bytes() == buffer.getvalue()

    @pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"save_all": True}])
    def test_webp(self, options: dict[str, Any]) -> None:
        if not PIL.features.check("webp"):
            pytest.skip("Pillow was built without WebP")
        buffer = io.BytesIO()
        more = [PIL.Image.new("RGB", (40, 30), "red")] if "save_all" in options else []
        PIL.Image.new("RGB", (40, 30)).save(buffer, format="WEBP", append_images=more, **options)
        assert look(buffer.getvalue()) == ("image/webp", 40, 30)

    @quick
    @given(some.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))))
    def test_the_png_writer(self, array: np.ndarray) -> None:
        read = PIL.Image.open(io.BytesIO(encode_png(array)))
        read.load()
        assert np.array_equal(np.asarray(read).reshape(array.shape), array)

    @quick
    @given(
        st.binary(max_size=200),
        st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF0000WEBPVP8X", b"\x89PNG\r\n\x1a\n"]),
    )
    def test_looking_at_any_bytes(self, data: bytes, head: bytes) -> None:
        look(head + data)


def histogram(*arguments: Any, **options: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(data_of(Histogram(*arguments, **options)))
    assert len(document["edges"]) == len(document["counts"]) + 1
    assert all(a < b for a, b in zip(document["edges"], document["edges"][1:], strict=False))
    return document


class TestHistograms:
    def test_of_values(self) -> None:
        found = histogram([0, 1, 2, 3, 4, 4, math.nan, math.inf, -math.inf, -math.inf], bins=4)
        assert found == {
            "edges": [0, 1, 2, 3, 4],
            "counts": [1, 1, 1, 3],
            "count": 10,
            "nan": 1,
            "positive_infinity": 1,
            "negative_infinity": 2,
            "min": 0,
            "max": 4,
        }
        details = Histogram([1.0, math.nan], bins=2).details()
        assert details == {"bins": 2, "count": 2, "min": 1.0, "max": 1.0, "nan": 1}

    def test_of_tensors_of_any_shape(self) -> None:
        assert histogram(Tensor(np.ones((2, 3, 4))))["count"] == 24
        assert histogram(np.array([True, False]))["count"] == 2

    @pytest.mark.parametrize(
        "values",
        [
            [],
            [math.nan],
            [5],
            [0.0],
            [1e308, -1e308],
            [1, 1 + 2**-52],
            [5e-324, 0],
            [1.7976931348623157e308],
            [0.0, 1.7976931348623157e308],
            [1e-300, 2e-300],
            [1.7976931348623157e308, 1.7976931348623155e308],
        ],
    )
    def test_odd_ranges(self, values: list[float]) -> None:
        found = histogram(values)
        assert sum(found["counts"]) == sum(map(math.isfinite, values))

    @quick
    @given(st.lists(st.floats()), st.integers(1, 100))
    def test_every_value_is_counted_once(self, values: list[float], bins: int) -> None:
        found = histogram(values, bins=bins)
        finite = [value for value in values if math.isfinite(value)]
        assert sum(found["counts"]) == len(finite)
        assert found["count"] == len(values)
        assert found["nan"] + found["positive_infinity"] + found["negative_infinity"] == len(values) - len(finite)
        assert (found["min"], found["max"]) == ((min(finite), max(finite)) if finite else (None, None))

    def test_computed_by_somebody_else(self) -> None:
        counts, edges = np.histogram([1, 2, 3], bins=3)
        assert histogram(counts=counts, edges=edges)["counts"] == [1, 1, 1]
        assert histogram(counts=[0.5], edges=[-1.5, 2])["edges"] == [-1.5, 2]

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"values": [1], "counts": [1], "edges": [0, 1]},
            {"counts": [1]},
            {"edges": [1]},
            {"counts": [1], "edges": [0]},
            {"counts": [], "edges": [0]},
            {"counts": [-1], "edges": [0, 1]},
            {"counts": [math.nan], "edges": [0, 1]},
            {"counts": [1], "edges": [1, 1]},
            {"counts": [1], "edges": [0, math.inf]},
            {"counts": ["a"], "edges": [0, 1]},
            {"counts": 5, "edges": [0, 1]},
            {"values": ["a"]},
            {"values": [1j]},
            {"values": [1], "bins": 0},
            {"values": [1], "bins": 4097},
            {"values": [1], "bins": True},
            {"values": [1], "bins": 2.5},
        ],
    )
    def test_what_is_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            Histogram(**arguments)


class TestAudio:
    @staticmethod
    def read(audio: Audio) -> tuple[int, int, int, bytes]:
        with wave.open(io.BytesIO(data_of(audio))) as sound:
            frames = sound.readframes(sound.getnframes())
            return sound.getframerate(), sound.getnchannels(), sound.getsampwidth(), frames

    def test_floats_become_16_bit(self) -> None:
        audio = Audio(np.array([0, 1, -1, 0.5]), 8000)
        assert self.read(audio) == (8000, 1, 2, np.array([0, 32767, -32767, 16384], "<i2").tobytes())
        assert audio.details() == {"sample_rate": 8000, "channels": 1, "seconds": 4 / 8000}

    @pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", ">i2"])
    def test_whole_numbers_stay(self, dtype: str) -> None:
        samples = np.array([[1, 2], [3, 4], [5, 6]], dtype)
        rate, channels, width, frames = self.read(Audio(samples, 44100))
        assert (rate, channels, width) == (44100, 2, samples.dtype.itemsize)
        assert np.frombuffer(frames, samples.dtype.newbyteorder("<")).reshape(3, 2).tolist() == samples.tolist()

    def test_channels_first_as_tensors_have_them(self) -> None:
        samples = np.arange(20, dtype=np.int16).reshape(2, 10)
        assert self.read(Audio(Tensor(samples), 100)) == (100, 2, 2, samples.T.tobytes())

    def test_normalize(self) -> None:
        assert self.read(Audio([4.0, -2.0], 1, normalize=True))[3] == np.array([32767, -16384], "<i2").tobytes()
        assert self.read(Audio([0.0], 1, normalize=True))[3] == b"\0\0"

    def test_files_stay_as_they_are(self, tmp_path: Path, blobs: LocalBlobs) -> None:
        data = data_of(Audio(np.zeros(100), 50))
        (tmp_path / "a.wav").write_bytes(data)
        for audio in (Audio(tmp_path / "a.wav"), Audio(data)):
            entry = audio.to_entry(blobs.keep)
            assert entry["media_type"] == "audio/wav"
            assert entry["details"] == {"sample_rate": 50, "channels": 1, "seconds": 2.0}
            assert blobs.path(entry["digest"]).read_bytes() == data
        for head, expected in [
            (b"fLaC....", "audio/flac"),
            (b"OggS....", "audio/ogg"),
            (b"ID3.....", "audio/mpeg"),
            (b"\xff\xfb\x90\x00", "audio/mpeg"),
            (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
            (b"RIFF....WAVE", "audio/wav"),
        ]:
            assert Audio(head).content()[1] == expected

    @pytest.mark.parametrize(
        ("data", "rate"),
        [
            ([0.0], None),
            ([0.0], 0),
            ([0.0], 8000.5),
            ([1.5], 8000),
            ([math.nan], 8000),
            ([], 8000),
            (np.zeros((2, 2, 2)), 8000),
            (np.zeros((100, 100)), 8000),
            (np.zeros(3, np.int64), 8000),
            (["a"], 8000),
            (b"what", None),
            ("gone.wav", None),
        ],
    )
    def test_what_is_refused(self, data: Any, rate: Any) -> None:
        with pytest.raises(InvalidRequestError):
            Audio(data, rate)


class TestFigures:
    @pytest.fixture
    def figure(self) -> Any:
        from matplotlib.figure import Figure as MatplotlibFigure

        made = MatplotlibFigure(figsize=(3, 2), dpi=50)
        made.add_subplot().plot([1, 2, 3])
        return made

    def test_a_png(self, figure: Any, blobs: LocalBlobs) -> None:
        entry = Figure(figure).to_entry(blobs.keep)
        assert entry["media_type"] == "image/png"
        assert entry["type"] == EntryType.PLOT.value
        assert entry["details"] == {"library": "matplotlib", "width": 150, "height": 100}
        assert Figure(figure, dpi=100).details()["width"] == 300
        assert data_of(Figure(figure)) == data_of(Figure(figure))

    def test_an_svg_whose_text_is_text(self, figure: Any) -> None:
        import matplotlib as mpl

        figure.axes[0].set_title("<script>alert(1)</script>")
        with mpl.rc_context({"svg.fonttype": "none"}):
            media = Figure(figure.axes[0], format="svg")
        assert media.content()[1] == "image/svg+xml"
        tree = ElementTree.fromstring(data_of(media))
        assert not [element for element in tree.iter() if element.tag.endswith("script")]
        assert "<script>alert(1)</script>" in [element.text for element in tree.iter()]

    def test_a_later_change_of_the_figure_does_not_count(self, figure: Any) -> None:
        media = Figure(figure)
        before = data_of(media)
        figure.axes[0].plot([3, 2, 1])
        assert data_of(media) == before != data_of(Figure(figure))

    def test_plotly_keeps_its_json(self) -> None:
        import plotly.graph_objects as go

        media = Figure(go.Figure(go.Scatter(y=[1, 2.5, 1e300]), layout={"title": "<b>x</b>"}))
        assert media.content()[1] == PLOTLY_TYPE
        document = json.loads(data_of(media))
        assert document["data"][0]["y"] == [1, 2.5, 1e300]
        assert document["layout"]["title"] == {"text": "<b>x</b>"}

    @pytest.mark.parametrize("options", [{"format": "pdf"}, {"dpi": 0}, {"dpi": 10_000}])
    def test_options_that_are_refused(self, figure: Any, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            Figure(figure, **options)

    @pytest.mark.parametrize("value", [None, 5, "figure", object()])
    def test_what_is_no_figure(self, value: Any) -> None:
        with pytest.raises(InvalidRequestError, match="matplotlib or plotly"):
            Figure(value)


@quick
@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(max_size=30), st.lists(st.integers())))
def test_anything_is_taken_or_refused_in_words(value: Any) -> None:
    for kind in (Image, Audio, Histogram, Text, File, Figure):
        try:
            kind(value)
        except HeadwayError as error:
            assert str(error)
