"""Give a new version a tenth of the traffic, look how it does, let it have everything, and take it back.

Run it with HEADWAY_URL and HEADWAY_TOKEN set::

    python canary.py
"""

import tempfile
from collections import Counter
from pathlib import Path

import headway

PREDICT = """
class Predictor:
    def predict(self, inputs):
        return [{factor} * value for value in inputs]
"""


def register(client, factor):
    """A version of the model ``multiply``."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "predict.py").write_text(PREDICT.format(factor=factor))
        return client.models.register("multiply", directory)


with headway.Client(project="examples") as client:
    try:
        client.projects.create("examples")
    except headway.ConflictError:
        pass  # it is there already

    old, new = register(client, 2), register(client, 3)
    name = f"multiply-v{old.version}"
    deployment = client.deployments.create(name, old.id, replicas=2)
    client.deployments.wait(name, timeout=120)

    # The old version keeps all traffic until the new one answers; then every tenth request is the new one's.
    changed = client.deployments.traffic(name, {f"v{old.version}": 90, f"v{new.version}": 10})
    client.deployments.wait(name, revision=changed.last_revision, timeout=120)

    predictor = client.deployments.predictor(name)
    answers = Counter()
    for _ in range(300):
        [value] = predictor.predict([7])
        answers[predictor.last.version] += 1
        assert value == (14 if predictor.last.version == f"v{old.version}" else 21)
    print(f"of 300 requests {answers[f'v{new.version}']} went to the canary v{new.version}")

    # One version can be asked for, whatever the weights are.
    [value] = client.deployments.predict(name, instances=[7], version=new.version).predictions
    print(f"v{new.version} says {value}")

    changed = client.deployments.update(name, model=new.id, reason="the canary did well")
    client.deployments.wait(name, revision=changed.last_revision, timeout=120)
    print(f"now all say {predictor.predict([7])[0]}")

    changed = client.deployments.rollback(name, 1, reason="not what was meant")
    client.deployments.wait(name, revision=changed.last_revision, timeout=120)
    print(f"rolled back, and all say {predictor.predict([7])[0]}")

    for revision in client.deployments.revisions(name):
        shares = ", ".join(f"{version.key} {version.weight}" for version in revision.spec.versions)
        print(f"revision {revision.number}: {shares} ({revision.state.value}) {revision.reason}".rstrip())
