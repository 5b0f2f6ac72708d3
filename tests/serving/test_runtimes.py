"""Loading models: files decide, nothing is unpickled, and what is wrong is said with the user's own words."""

from __future__ import annotations

import sys

import pytest

from headway.domain.models import SERVED_RUNTIMES, detect_runtime
from headway.errors import MissingExtraError, ModelLoadError
from headway.serving.runtimes import registry
from headway.serving.runtimes.registry import load_model


@pytest.fixture(autouse=True)
def import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(directory, text, name="predict.py"):
    (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    "text",
    [
        "class Predictor:\n    def __init__(self, model_dir): self.d = model_dir\n    def predict(self, x): return self.d",
        "class Model:\n    def __init__(self, anything): self.d = anything\n    def predict(self, x): return self.d",
        "class Model:\n    def __init__(self, model_dir=''): self.d = model_dir\n    def predict(self, _): return self.d",
    ],
)
def test_a_class_that_asks_for_the_directory_gets_it(tmp_path, text):
    assert load_model(write(tmp_path, text)).predict(1) == str(tmp_path)


@pytest.mark.parametrize(
    "init", ["", "    def __init__(self): pass\n", "    def __init__(self, device='cpu'): assert device == 'cpu'\n"]
)
def test_a_class_that_does_not_ask_is_made_without(tmp_path, init):
    text = (
        f"class Predictor:\n{init}    def load(self): self.factor = 2\n    def predict(self, x): return x * self.factor"
    )
    assert load_model(write(tmp_path, text)).predict(21) == 42


def test_files_beside_predict_can_be_imported_and_a_foreign_model_class_is_not_taken(tmp_path):
    write(tmp_path, "class Model:\n    def predict(self, x): return 'wrong'\n", "some_framework.py")
    write(
        tmp_path, "from some_framework import Model\nclass Predictor(Model):\n    def predict(self, x): return 'right'"
    )
    assert load_model(tmp_path).predict(1) == "right"
    (tmp_path / "predict.py").write_text("from some_framework import Model")
    with pytest.raises(ModelLoadError, match="no class Predictor or Model"):
        load_model(tmp_path)


@pytest.mark.parametrize(("said", "batch"), [("", False), ("batch = True", True), ("batch = False", False)])
def test_a_class_says_whether_it_takes_rows_of_several_requests(tmp_path, said, batch):
    text = f"class Predictor:\n    {said}\n    def predict(self, x): return x"
    model = load_model(write(tmp_path, text))
    assert (model.signature, model.batch) == (None, batch)


def test_batch_is_yes_or_no_unless_it_is_a_method_of_the_users(tmp_path):
    write(tmp_path, "class Predictor:\n    batch = 32\n    def predict(self, x): return x")
    with pytest.raises(ModelLoadError, match=r"Predictor\.batch in predict\.py is 32"):
        load_model(tmp_path)
    write(tmp_path, "class Predictor:\n    def batch(self): ...\n    def predict(self, x): return x")
    assert load_model(tmp_path).batch is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import module_that_is_missing",
            r"predict\.py:1: ModuleNotFoundError: No module named 'module_that_is_missing'",
        ),
        ("\nx = (", r"predict\.py:2: SyntaxError"),
        (
            "class Predictor:\n    def __init__(self):\n        open('/no/such/file')",
            r"predict\.py:3: FileNotFoundError",
        ),
        (
            "class Predictor:\n    def load(self):\n        raise RuntimeError('too hot')",
            r"Predictor\.load failed at predict\.py:3: RuntimeError: too hot",
        ),
        ("raise SystemExit('bye')", r"predict\.py:1: SystemExit: bye"),
        ("class Predictor: pass", "no method predict"),
        ("class Predictor:\n    async def predict(self, x): pass", "asynchronous"),
        ("class Predictor:\n    def __init__(self, a, b): pass", "needs 2 arguments"),
        ("x = 1", "no class Predictor or Model"),
    ],
)
def test_what_is_wrong_with_predict_py_is_said_with_its_line(tmp_path, text, said):
    with pytest.raises(ModelLoadError, match=said):
        load_model(write(tmp_path, text))


def test_files_decide_what_serves_them(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not one")
    with pytest.raises(ModelLoadError, match=r"model\.onnx could not be read by ONNX Runtime"):
        load_model(tmp_path)
    write(tmp_path, "class Predictor:\n    def predict(self, x): return x")
    assert load_model(tmp_path).predict(5) == 5


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["serving.yaml", "predict.py", "model.onnx"], "command"),
        (["deep/serving.yaml", "predict.py", "model.onnx"], "python"),
        (["deep/predict.py", "deep/model.onnx"], "onnx"),
        (["1/saved_model.pb", "1/variables/variables.index", "notes.txt"], "tensorflow"),
        (["model.json"], "xgboost"),
        (["config.json", "notes.txt"], None),
        (["a/model.txt"], "lightgbm"),
        (["net.pth"], "torch"),
        (["model.pkl", "model.joblib"], None),
        ([], None),
    ],
)
def test_what_the_files_are(files, found):
    assert detect_runtime(files) == found


def test_no_model_at_all(tmp_path):
    with pytest.raises(ModelLoadError, match="Nothing in the model directory"):
        load_model(tmp_path)
    with pytest.raises(ModelLoadError, match="does not exist"):
        load_model(tmp_path / "missing")


FRAMEWORKS = [
    ("model.skops", "sklearn", "skops.io", r"pip install 'headway\[sklearn\]'"),
    ("model.onnx", "onnx", "onnxruntime", r"pip install 'headway\[onnx\]'"),
    ("saved_model.pb", "tensorflow", "tensorflow", "pip install tensorflow"),
    ("model.keras", "keras", "keras", "pip install keras"),
    ("model.pt2", "torch", "torch", "pip install torch"),
    ("model.ubj", "xgboost", "xgboost", "pip install xgboost"),
    ("model.txt", "lightgbm", "lightgbm", "pip install lightgbm"),
]


@pytest.mark.parametrize(("file", "kind", "package", "command"), FRAMEWORKS, ids=[row[1] for row in FRAMEWORKS])
def test_a_missing_framework_is_said_with_the_command(tmp_path, monkeypatch, file, kind, package, command):
    (tmp_path / file).touch()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, f"headway.serving.runtimes.{kind}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        (MissingExtraError, ModelLoadError), match=f"(?s)kind '{kind}' needs .*Run `{command}`"
    ) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_framework_that_does_not_work_here_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "xgboost.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.ubj").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "xgboost"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "headway.serving.runtimes.xgboost", raising=False)
    with pytest.raises(ModelLoadError, match=r"cannot be imported: OSError: libgomp\.so\.1"):
        load_model(tmp_path / "model")


def test_every_runtime_that_is_promised_is_there():
    assert {"command", *registry.RUNTIMES} == SERVED_RUNTIMES
