"""Starlette with no more than it takes, on uvicorn with uvloop and httptools."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from serving.models import load

kind, directory, port = sys.argv[1:4]
model = load(kind, directory)


async def predict(request: Request) -> JSONResponse:
    body = await request.json()
    return JSONResponse(model(body["instances"]))


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)
