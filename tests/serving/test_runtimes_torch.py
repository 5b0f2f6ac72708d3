"""PyTorch: exported programs and TorchScript answer as they do in PyTorch, and nothing in a file is run on loading."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from headway.errors import ModelLoadError
from headway.serving.runtimes.base import TensorSpec
from headway.serving.runtimes.registry import load_model

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("default"),  # PyTorch's own
]

POINTS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 3)
        self.drop = torch.nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return torch.softmax(self.drop(self.layer(x)) * self.scale, dim=1)


class Both(torch.nn.Module):
    def forward(self, tokens, weights):
        return {"sum": (tokens * weights).sum(dim=1), "count": (tokens != 0).sum(dim=1)}


class Centred(torch.nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0, keepdim=True)


def export(directory, net, example, name="model.pt2", free=True):
    directory.mkdir(parents=True, exist_ok=True)
    net = net.eval()
    rows = torch.export.Dim("batch", min=1, max=4096)
    shapes = tuple({0: rows} for _ in example) if free else None
    program = torch.export.export(net, example, dynamic_shapes=shapes)
    torch.export.save(program, directory / name)
    return net


def expected(net, *inputs):
    with torch.inference_mode():
        return net(*(torch.from_numpy(each) for each in inputs))


def test_an_exported_program_answers_as_the_network(tmp_path):
    net = export(tmp_path, Net(), (torch.randn(2, 4),))
    model = load_model(tmp_path)
    assert model.signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert model.signature.outputs == (TensorSpec("output", "float32", (None, 3)),)
    assert model.signature.rows
    assert model.metadata["form"] == "torch.export"
    for rows in (1, 2, 6):
        answer = model.predict({"x": POINTS[:rows]})["output"]
        assert np.allclose(answer, expected(net, POINTS[:rows]).numpy(), atol=1e-6)


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    tokens = np.array([[1, 0, 2], [3, 4, 0]])
    weights = np.array([[0.5, 1, 2], [1, 1, 1]], dtype=np.float32)
    net = export(tmp_path, Both(), (torch.from_numpy(tokens), torch.from_numpy(weights)))
    model = load_model(tmp_path)
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [("tokens", "int64"), ("weights", "float32")]
    assert [spec.name for spec in model.signature.outputs] == ["sum", "count"]
    answer = model.predict({"tokens": tokens, "weights": weights})
    wanted = expected(net, tokens, weights)
    assert np.allclose(answer["sum"], wanted["sum"].numpy())
    assert answer["count"].tolist() == wanted["count"].tolist()


def test_a_program_for_a_fixed_number_of_rows_is_not_joined(tmp_path):
    export(tmp_path, Net(), (torch.randn(2, 4),), free=False)
    model = load_model(tmp_path)
    assert model.signature.inputs == (TensorSpec("x", "float32", (2, 4)),)
    assert not model.signature.rows
    assert model.predict({"x": POINTS[:2]})["output"].shape == (2, 3)


def test_rows_that_mix_are_not_joined(tmp_path):
    export(tmp_path, Centred(), (torch.randn(2, 4),))
    assert not load_model(tmp_path).signature.rows


@pytest.mark.parametrize("name", ["model.pt", "net.pth"])
def test_torchscript_answers_as_the_network(tmp_path, name):
    net = Net().eval()
    torch.jit.script(net).save(tmp_path / name)
    model = load_model(tmp_path)
    assert model.signature.inputs == (TensorSpec("x", "float32", None),)
    assert not model.signature.rows
    assert np.allclose(model.predict({"x": POINTS})["output"], expected(net, POINTS).numpy(), atol=1e-6)


def test_weights_alone_are_refused_with_what_to_do(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ModelLoadError, match=r"weights alone \(a state_dict\).*torch\.export\.save"):
        load_model(tmp_path)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickled_network_is_not_unpickled(tmp_path):
    owned = tmp_path / "owned"
    for content in (saved(Harmful(owned)), pickle.dumps(Harmful(owned)), pickle.dumps(Harmful(owned), protocol=0)):
        for name in ("model.pt", "model.pt2"):
            directory = tmp_path / "model"
            directory.mkdir(exist_ok=True)
            (directory / name).write_bytes(content)
            with pytest.raises(ModelLoadError, match=r"model\.pt"):
                load_model(directory)
            (directory / name).unlink()
    assert not owned.exists()


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def changed(directory, change):
    """A good archive with its members put through ``change(name below the top, content)``; extra members by None."""
    export(directory, Net(), (torch.randn(2, 4),), "good.pt2")
    with zipfile.ZipFile(directory / "good.pt2") as good, zipfile.ZipFile(directory / "model.pt2", "w") as bad:
        for member in good.namelist():
            top, _, inner = member.partition("/")
            bad.writestr(member, change(inner, good.read(member)))
        for inner, content in change(None, None) or ():
            bad.writestr(f"{top}/{inner}" if not inner.startswith("!") else inner[1:], content)
    (directory / "good.pt2").unlink()
    return directory


def json_change(place, edit):
    def change(inner, content):
        if inner is None:
            return ()
        if inner != place:
            return content
        document = json.loads(content)
        edit(document)
        return json.dumps(document).encode()

    return change


MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
CODE = "[].append(__import__('os').mkdir({path!r}))"


def nodes(document):
    return document["graph_module"]["graph"]["nodes"]


def harmful_changes(owned):
    """What a forger could write into an archive, by name."""
    harm = pickle.dumps(Harmful(owned))
    code = CODE.format(path=str(owned))

    def call(target):
        return json_change(MODEL, lambda d: nodes(d)[0].update(target=target))

    def size(text):
        def edit(document):
            values = document["graph_module"]["graph"]["tensor_values"]
            values["x"]["sizes"][0]["as_expr"]["expr_str"] = text

        return json_change(MODEL, edit)

    def sample(inner, content):
        return () if inner is None else saved(Harmful(owned)) if inner.startswith("data/sample_inputs/") else content

    def pickled_weight(inner, content):
        if inner == "data/weights/weight_0":
            return saved(Harmful(owned))
        return json_change(WEIGHTS, lambda d: d["config"]["layer.weight"].update(use_pickle=True))(inner, content)

    def constant(inner, content):
        if inner is None:
            return [("data/constants/opaque_obj_0", harm)]
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        return json_change(CONSTANTS, lambda d: d["config"].update(scale=entry))(inner, content)

    def extra(name, content):
        return lambda inner, given: [(name, content)] if inner is None else given

    return {
        "sample inputs": sample,
        "a pickled weight": pickled_weight,
        "a pickled constant": constant,
        "a call of os.system": call("torch.os.system"),
        "a call of torch.load": call("torch.load"),
        "a call of operator.methodcaller": call("_operator.methodcaller"),
        "an operator that reads files": call("torch.ops.aten.from_file.default"),
        "an extension": call("#mine:os.system"),
        "a size that is code": size(code),
        "a size that calls": size(f"sympify({code!r})"),
        "a size with an attribute": size("Symbol.__class__.__base__"),
        "guards that are code": json_change(MODEL, lambda d: d.update(guards_code=[f"{code} or True"])),
        "a compiled library": extra("data/aotinductor/model/lib.so", b"\x7fELF"),
        "old weights": extra("data/weights/model.pt", harm),
        "an old constant": extra("data/constants/model.pt", harm),
        "the old form": extra("!version", b"8.20"),
        "a second graph": extra("models/other", b'{"target": "torch.os.system"}'),
        "a name that leads out": extra("../x", b""),
    }


@pytest.mark.parametrize("name", list(harmful_changes("")))
def test_nothing_in_an_archive_is_run(tmp_path, name):
    owned = tmp_path / "owned"
    directory = changed(tmp_path / "model", harmful_changes(owned)[name])
    if name == "guards that are code":
        load_model(directory).predict({"x": POINTS})
    else:
        with pytest.raises(ModelLoadError, match=r"model\.pt2") as caught:
            load_model(directory)
        assert "\n" not in str(caught.value)
    assert not owned.exists()


def test_files_that_are_not_what_their_name_says_are_refused_with_the_reason(tmp_path):
    export(tmp_path / "a", Net(), (torch.randn(2, 4),))
    (tmp_path / "b").mkdir()
    torch.jit.script(Net()).save(tmp_path / "b" / "model.pt")
    for path in (tmp_path / "a" / "model.pt2", tmp_path / "b" / "model.pt"):
        good = path.read_bytes()
        for content in (b"", b"text", good[: len(good) // 2], good[:-30], np.random.default_rng(0).bytes(3000)):
            path.write_bytes(content)
            with pytest.raises(ModelLoadError, match=path.name) as caught:
                load_model(path.parent)
            assert "\n" not in str(caught.value)


def test_an_input_that_is_no_tensor_is_refused(tmp_path):
    class Scaled(torch.nn.Module):
        def forward(self, x, factor: float):
            return x * factor

    torch.jit.script(Scaled()).save(tmp_path / "model.pt")
    with pytest.raises(ModelLoadError, match="'factor' is a float; only tensors"):
        load_model(tmp_path)
