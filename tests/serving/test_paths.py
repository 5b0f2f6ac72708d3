"""Which path is whose."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.serving.protocols.base import Target
from headway.serving.protocols.paths import LONGEST, UNKNOWN_VERSION, locate
from headway.serving.protocols.registry import PROTOCOLS

T = Target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/models/m", T("tensorflow", "status", "m")),
        ("/v1/models/m:predict", T("tensorflow", "predict", "m")),
        ("/v1/models/m%3Apredict", T("tensorflow", "predict", "m")),
        ("/v1/models/my%20model%3apredict", T("tensorflow", "predict", "my model")),
        ("/v1/models/m:classify", T("tensorflow", "classify", "m")),
        ("/v1/models/m/versions/3:regress", T("tensorflow", "regress", "m", 3)),
        ("/v1/models/m/labels/stable:predict", T("tensorflow", "predict", "m", label="stable")),
        ("/v1/models/m/labels/my%20label", T("tensorflow", "status", "m", label="my label")),
        ("/v1/models/m/versions/3/metadata", T("tensorflow", "metadata", "m", 3)),
        ("/v1/models/m/metadata", T("tensorflow", "metadata", "m")),
        ("/v1/models/m/versions/99999999999999999999", T("tensorflow", "status", "m", UNKNOWN_VERSION)),
        ("/v1/models/a%2Fb:predict", T("tensorflow", "predict", "a/b")),
        ("/v2", T("openinference", "server")),
        ("/v2/health/live", T("openinference", "live")),
        ("/v2/health/ready", T("openinference", "ready")),
        ("/v2/models/m", T("openinference", "metadata", "m")),
        ("/v2/models/m/ready", T("openinference", "ready", "m")),
        ("/v2/models/m/infer", T("openinference", "predict", "m")),
        ("/v2/models/m/versions/2/infer", T("openinference", "predict", "m", 2)),
        ("/v2/models/m/versions/x/infer", T("openinference", "predict", "m", UNKNOWN_VERSION)),
        ("/invocations", T("invocations", "predict")),
        ("/ping", T("invocations", "ready")),
        ("/version", T("invocations", "server")),
        ("/predict", T("plain", "predict")),
        ("/model-serving/d", T("tensorflow", "status", deployment="d")),
        ("/model-serving/d:predict", T("any", "predict", deployment="d")),
        ("/model-serving/d%3Apredict", T("any", "predict", deployment="d")),
        ("/model-serving/d:classify", T("tensorflow", "classify", deployment="d")),
        ("/model-serving/d/metadata", T("tensorflow", "metadata", deployment="d")),
        ("/model-serving/d/v1/models/x/versions/2:predict", T("tensorflow", "predict", "x", 2, None, "d")),
        ("/model-serving/d/v2/models/x/infer", T("openinference", "predict", "x", deployment="d")),
        ("/model-serving/d/v2/health/ready", T("openinference", "ready", deployment="d")),
        ("/model-serving/d/invocations", T("invocations", "predict", deployment="d")),
        ("/model-serving/d/predict", T("plain", "predict", deployment="d")),
    ],
)
def test_every_path_of_the_contract(path, target):
    assert locate(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/models",
        "/v1/models/",
        "/v1/models/m/",
        "/v1/models/m/versions/x:predict",
        "/v1/models/m/versions/3/labels/a",
        "/v2/",
        "/v2/models/m/config",
        "/v2/models/m/infer/",
        "/V2",
        "/model-serving/",
        "/model-serving/d/",
        "/model-serving/d/nothing",
        "/model-serving/d/model-serving/e:predict",
        "//v2",
        "/predict/",
        "/predict:predict",
        "/v1/models/" + "m" * LONGEST,
    ],
)
def test_what_nobody_offers(path):
    assert locate(path) is None


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="/:", codec="utf-8"), min_size=1, max_size=100))
def test_any_name_is_decoded(name):
    quoted = quote(name, safe="")
    assert locate(f"/v1/models/{quoted}:predict").model == name
    assert locate(f"/v2/models/{quoted}/infer").model == name
    assert locate(f"/model-serving/{quoted}/v2").deployment == name


@settings(deadline=None)
@given(st.text(st.sampled_from("/:%3aA.v12modelsinfer-serving"), max_size=300))
def test_any_path_has_one_protocol_or_none(path):
    found = locate(path)
    assert found is None or (found.protocol in PROTOCOLS and re.fullmatch("[A-Za-z]+", found.verb))


def test_the_longest_paths_that_could_be_slow_are_not():
    for unit in (":a", "%3A", "/versions/1", "/labels/a", "::", "%"):
        assert locate("/v1/models/" + unit * (LONGEST // len(unit) - 20) + "/") is None
