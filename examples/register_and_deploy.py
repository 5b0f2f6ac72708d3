"""Train a model here, register its file, and put it behind an endpoint with two replicas.

Run it with HEADWAY_URL and HEADWAY_TOKEN set; it needs scikit-learn and skops::

    python register_and_deploy.py
"""

import tempfile
from pathlib import Path

import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import headway

pixels, labels = load_digits(return_X_y=True)
known, held_out, known_labels, held_out_labels = train_test_split(pixels, labels, test_size=0.2, random_state=0)
model = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=500)).fit(known, known_labels)
print(f"accuracy on held-out images: {model.score(held_out, held_out_labels):.3f}")

with headway.Client() as client, tempfile.TemporaryDirectory() as directory:
    try:
        client.projects.create("examples")
    except headway.ConflictError:
        pass  # it is there already

    path = Path(directory) / "model.skops"
    skops.io.dump(model, path)
    version = client.models.register("digits-regression", path, project="examples")
    print(f"registered {version.uri}, {version.size} bytes, served by the {version.runtime} runtime")

    name = f"digits-regression-v{version.version}"
    deployment = client.deployments.create(name, version.id, replicas=2, project="examples")
    deployment = client.deployments.wait(deployment.id, timeout=60)
    print(f"{deployment.name} is {deployment.state.value}: {deployment.endpoint}")

    answer = client.deployments.predict(deployment.id, inputs=held_out[:3].tolist())
    print(f"asked for {held_out_labels[:3].tolist()}, answered {answer.outputs['classes']}")
