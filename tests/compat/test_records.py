"""Printed forms and values of what the clients return."""

from __future__ import annotations

import pytest

import gradient
from gradient import Deployment, Hyperparameter, Job, LogRow, Model, MultiNodeExperiment, Project, SingleNodeExperiment

SEED_DEPLOYMENT = (
    "Deployment(id_='des34dp4d58vav1', name='sdk_tutorial', "
    "endpoint='https://services.paperspace.io/model-serving/des34dp4d58vav1:predict', api_type='REST', "
    "state='Running', model_id='moj0e7uljjrsx8', project_id='pr8kr4qf1', image_url='tensorflow/serving:latest-gpu', "
    "deployment_type='Tensorflow Serving on K8s', machine_type='K80', instance_count=2)"
)
SEED_ROW = (
    "LogRow(line=137, message='I0830 02:14:58.314819 140254722529024 util.py:164] Initialize strategy', "
    "timestamp='2019-08-30T02:14:58.315Z')"
)
NAMESPACE = {name: getattr(gradient, name) for name in gradient.__all__}


def test_a_deployment_prints_as_the_document_shows() -> None:
    assert repr(eval(SEED_DEPLOYMENT, NAMESPACE)) == SEED_DEPLOYMENT


def test_a_log_row_prints_as_the_document_shows_and_is_a_tuple() -> None:
    row = eval(SEED_ROW, NAMESPACE)

    assert repr(row) == SEED_ROW
    line, _, timestamp = row
    assert (line, timestamp) == (137, "2019-08-30T02:14:58.315Z")
    assert LogRow._fields == ("line", "message", "timestamp")


def test_deployment_and_job_ids_have_both_names() -> None:
    assert Deployment(id_="d1").id == "d1"
    assert Job(id_="j1").id == "j1"


@pytest.mark.parametrize("kind", [Deployment, Hyperparameter, Job, Model, Project, SingleNodeExperiment])
def test_nothing_is_required_and_equal_values_are_equal(kind: type) -> None:
    assert kind() == kind()
    assert kind(name="a") != kind(name="b")
    assert repr(kind(name="a")).startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("number", [1, 4, None])
def test_several_nodes_need_type_two_or_three(number: int | None) -> None:
    with pytest.raises(ValueError, match="Multi node experiment's type must equal 2 or 3"):
        MultiNodeExperiment(experiment_type_id=number)
    assert MultiNodeExperiment(experiment_type_id=3).experiment_type_id == 3


def test_a_single_node_needs_type_one() -> None:
    with pytest.raises(ValueError, match="Single node experiment's type must equal 1"):
        SingleNodeExperiment(experiment_type_id=2)
    assert SingleNodeExperiment().experiment_type_id == 1


def test_passwords_are_never_printed() -> None:
    hidden = [
        SingleNodeExperiment(registry_password="s3cret"),
        MultiNodeExperiment(experiment_type_id=2, worker_registry_password="s3cret"),
        MultiNodeExperiment(experiment_type_id=2, parameter_server_registry_password="s3cret"),
        Hyperparameter(hyperparameter_server_registry_password="s3cret"),
        Job(registry_password="s3cret"),
    ]
    for record in hidden:
        assert "s3cret" not in repr(record)
        assert "password='***'" in repr(record)
    assert "registry_password=None" in repr(SingleNodeExperiment())
