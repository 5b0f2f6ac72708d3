"""Ask a deployment, through the SDK and by plain HTTP.

Run it after register_and_deploy.py, logged in or with HEADWAY_URL and HEADWAY_TOKEN set::

    python predict.py [DEPLOYMENT]
"""

import json
import sys
import urllib.request
from pathlib import Path

import headway

body = json.loads((Path(__file__).parent / "digits" / "digit.json").read_text())

with headway.Client() as client:
    if len(sys.argv) > 1:
        deployment = client.deployments.get(sys.argv[1], project="examples")
    else:
        running = list(client.deployments.list(project="examples", state="running", limit=1))
        if not running:
            sys.exit("Nothing is deployed in the project 'examples'. Run register_and_deploy.py first.")
        deployment = running[0]

    answer = client.deployments.predict(deployment.id, inputs=body["inputs"])
    token = client.connection.token
    print(f"{deployment.name} sees a {answer.outputs['classes'][0]}")

# Any HTTP client will do: the format is that of TensorFlow Serving.
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
request = urllib.request.Request(deployment.endpoint, json.dumps(body).encode(), headers)
with urllib.request.urlopen(request) as response:
    print(f"HTTP {response.status}: {response.read().decode()[:70]}…")
