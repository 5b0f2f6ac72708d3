"""FastAPI as most write it by hand: a plain function and a pydantic body, on uvicorn with uvloop and httptools."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from serving.models import load

kind, directory, port = sys.argv[1:4]
model = load(kind, directory)
app = FastAPI()


class Body(BaseModel):
    instances: list[list[float]]


@app.post("/predict")
def predict(body: Body) -> dict[str, Any]:
    return model(body.instances)


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)
