"""The script of the Gradient document, from top to bottom, against a real server.

SNIPPETS is the document's code. Repaired is only what was no Python, or is the reader's own: the lines that ended in
``experiment_id =`` and ``log_streamer =`` are joined, ``from gradient import constants.ExperimentState`` is written as the
package has it, the imports and picture helpers that the document leaves out stand before it, and the repository is local.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headway
from headway.testing.server import ServerProcess

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
DOCUMENT_REPOSITORY = "https://github.com/Paperspace/mnist-sample.git"

LEFT_OUT = """
import json, os, sys, requests

def get_image_from_drive(name):
    digits = json.load(open(sys.argv[1]))
    return next(digit["pixels"] for digit in digits if f"example{digit['label']}.png" == name)

def show_selected_image(image):
    pass

def make_vector(image):
    return image
"""

SNIPPETS = [
    '''
#Import the SdkClient from the gradient package
from gradient import sdk_client

#create a API Key
api_key = os.getenv("PS_API_KEY")

#access all paperspace entities from a single client
client = sdk_client.SdkClient(api_key)
''',
    '''
client = sdk_client.SdkClient(api_key)

#or access each component from its own client
deployment_client = sdk_client.DeploymentsClient(api_key)
models_client = sdk_client.ModelsClient(api_key)
jobs_client = sdk_client.JobsClient(api_key)
projects_client = sdk_client.ProjectsClient(api_key)
experiment_client = sdk_client.ExperimentsClient(api_key)
''',
    '''
project_id = client.projects.create("new project")
''',
    '''
#Create a dictionary of parameters for running a distributed/multinode experiment
env = {
    "EPOCHS_EVAL":5,
    "TRAIN_EPOCHS":10,
    "MAX_STEPS":1000,
    "EVAL_SECS":10
}
''',
    '''
multi_node_parameters = {
    "name": "multinode_mnist",
    "project_id": project_id,
    "experiment_type_id": 2,
    "worker_container": "tensorflow/tensorflow:1.13.1-gpu-py3",
    "worker_machine_type": "K80",
    "worker_command": "pip install -r requirements.txt && python mnist.py",
    "experiment_env": env,
    "worker_count": 2,
    "parameter_server_container": "tensorflow/tensorflow:1.13.1-gpu-py3",
    "parameter_server_machine_type": "K80",
    "parameter_server_command": "pip install -r requirements.txt && python mnist.py",
    "parameter_server_count": 1,
    "workspace_url": "https://github.com/Paperspace/mnist-sample.git",
    "model_path": "/storage/models/tutorial-mnist/",
    "model_type": "Tensorflow"
}
''',
    '''
#pass the dictionary into experiments client
experiment_id = client.experiments.run_multi_node(**multi_node_parameters)
''',
    '''
from gradient.constants import ExperimentState
print("Watching state of experiment")
state = ""
while state != "running":
    new_state = client.experiments.get(experiment_id).state
    new_state = ExperimentState.get_state_str(new_state)
    if new_state != state:
        print("state: "+new_state)
        state = new_state
''',
    '''
log_streamer = client.experiments.yield_logs(experiment_id)
print("Streaming logs of experiment")
try:
    while True:
        print(log_streamer.send(None))
except:
    print("done streaming logs")
''',
    '''
model = client.models.list(experiment_id = experiment_id)
''',
    '''
deploy_param = {
    "deployment_type" : "Tensorflow Serving on K8s",
    "image_url": "tensorflow/serving:latest-gpu",
    "name": "sdk_tutorial",
    "machine_type": "K80",
    "instance_count": 2,
    "model_id" : model[0].id
}
mnist = client.deployments.create(**deploy_param)
''',
    '''
client.deployments.start(mnist)
''',
    '''
deployment = client.deployments.list(model_id=model[0].id)
''',
    '''
print(deployment)
print("Endpoint: "+deployment[0].endpoint)
''',
    '''
image = get_image_from_drive('example5.png')
show_selected_image(image)
''',
    '''
def make_prediction_request(image, prediction_url):
    vector = make_vector(image)
    json = {
        "inputs": [vector]
    }
    response = requests.post(prediction_url, json=json)

    print('HTTP Response %s' % response.status_code)
    print(response.text)

make_prediction_request(image, deployment[0].endpoint)
''',
]  # fmt: skip

DEPLOYMENT = (
    r"Deployment\(id_='(?P<id>[a-z0-9]+)', name='sdk_tutorial', endpoint='(?P<endpoint>[^']+)', api_type='REST', "
    r"state='(?P<state>Starting|Running)', model_id='(?P<model>[a-z0-9]+)', project_id='(?P<project>[a-z0-9]+)', "
    r"image_url='tensorflow/serving:latest-gpu', deployment_type='Tensorflow Serving on K8s', machine_type='K80', "
    r"instance_count=2\)"
)


class Transcript:
    """What the script printed, cut where the document's output blocks begin."""

    def __init__(self, text: str) -> None:
        self.text = text
        watching, _, rest = text.partition("Streaming logs of experiment\n")
        self.watching = watching.splitlines()
        logs, _, self.rest = rest.partition("done streaming logs\n")
        self.logs = logs.splitlines()


@pytest.fixture(scope="module")
def transcript(
    running_server: ServerProcess, mnist_repository: str, tmp_path_factory: pytest.TempPathFactory
) -> Transcript:
    directory = tmp_path_factory.mktemp("seed")
    source = "\n".join([LEFT_OUT, *SNIPPETS]).replace(DOCUMENT_REPOSITORY, mnist_repository)
    (directory / "script.py").write_text(source)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWAY_", "PAPERSPACE_"))}
    done = subprocess.run(
        [sys.executable, "-u", "script.py", str(DIGITS / "held_out.json")],
        cwd=directory,
        env={**kept, "PS_API_KEY": running_server.token, "HEADWAY_URL": running_server.url},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Transcript(done.stdout)


def test_every_state_of_the_document_is_seen_in_its_order(transcript: Transcript) -> None:
    assert transcript.watching == [
        "Watching state of experiment",
        "state: created",
        "state: provisioning",
        "state: provisioned",
        "state: network setting up",
        "state: network setup",
        "state: running",
    ]


def test_the_log_is_rows_of_all_three_replicas_and_nothing_else(transcript: Transcript) -> None:
    form = re.compile(r"LogRow\(line=(\d+), message=(['\"]).*\2, timestamp='\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z'\)")
    assert transcript.logs
    assert [line for line in transcript.logs if not form.fullmatch(line)] == []
    assert [line for line in transcript.logs if line.startswith("LogRow(line=1,")].__len__() == 3
    text = "\n".join(transcript.logs)
    assert "master 0: cross_entropy" in text
    assert "worker 1: cross_entropy" in text
    assert "ps 0: 200 steps" in text
    assert "PSEOF" not in text


def test_the_deployment_prints_as_in_the_document(transcript: Transcript, running_server: ServerProcess) -> None:
    printed, endpoint, *_ = transcript.rest.splitlines()
    match = re.fullmatch(rf"\[{DEPLOYMENT}\]", printed)

    assert match, printed
    assert endpoint == f"Endpoint: {match['endpoint']}"
    assert match["endpoint"].endswith(f"/model-serving/{match['id']}:predict")


def test_the_prediction_is_right_and_in_tensorflow_servings_form(transcript: Transcript) -> None:
    _, _, status, *body = transcript.rest.splitlines()

    assert status == "HTTP Response 200"
    outputs = json.loads("\n".join(body))["outputs"]
    assert outputs["classes"] == [5]
    assert len(outputs["probabilities"][0]) == 10
    assert max(outputs["probabilities"][0]) == outputs["probabilities"][0][5]


def test_the_platform_kept_what_was_asked_for(transcript: Transcript, native: headway.Client) -> None:
    match = re.search(DEPLOYMENT, transcript.rest)
    assert match
    version = native.models.version(match["model"])
    deployment = native.deployments.wait(match["id"], timeout=60)
    job = native.jobs.get(version.job_id or "")

    assert deployment.public
    assert deployment.replica_count == 2
    assert native.projects.get(match["project"]).name.startswith("new project")
    assert job.state is headway.JobState.SUCCEEDED
    assert {name: role.count for name, role in job.spec.roles.items()} == {"worker": 2, "ps": 1}
    assert job.spec.roles["worker"].container == headway.Container(image="tensorflow/tensorflow:1.13.1-gpu-py3")
    assert job.spec.environment == {"EPOCHS_EVAL": "5", "TRAIN_EPOCHS": "10", "MAX_STEPS": "1000", "EVAL_SECS": "10"}
    assert (version.model_type, version.model_path) == ("Tensorflow", "/storage/models/tutorial-mnist/")
