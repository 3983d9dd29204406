"""GET /models and /models/{model}: what may be named as a request's `model`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from deployments import errors
from serve_app.api.compatible.openai import Model, Models
from serve_app.api.dependencies import Caller, DeadlineSeconds, ServicesDep
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.query.deadline import Deadline
from serve_app.schemas.base import Text
from serve_app.services.models import require_model

router = APIRouter(tags=["openai"])
ModelId = Annotated[Text, Path(max_length=512, examples=["rag"])]


def _model(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "rag-serve"}


@router.get(
    "/models",
    response_model=Models,
    responses={
        200: describe_response(example={"object": "list", "data": [_model("rag"), _model("Qwen/Qwen3-8B")]}),
        **describe_errors(errors.StageUnavailable, errors.Overloaded, errors.DeadlineExceeded),
    },
)
async def list_(services: ServicesDep, caller: Caller, deadline_s: DeadlineSeconds) -> dict[str, Any]:
    """`rag`, the models that chat without documents, the embedder and the reranker."""
    there = await Deadline(deadline_s).wait("the list of models", services.models.all_models())
    return {"object": "list", "data": [_model(model) for model in there]}


@router.get(
    "/models/{model:path}",
    response_model=Model,
    responses={
        200: describe_response(example=_model("rag")),
        **describe_errors(errors.UnknownModel, errors.StageUnavailable, errors.Overloaded, errors.DeadlineExceeded),
    },
)
async def get(model: ModelId, services: ServicesDep, caller: Caller, deadline_s: DeadlineSeconds) -> dict[str, Any]:
    """A model, if there is one of this id."""
    there = await Deadline(deadline_s).wait("the list of models", services.models.all_models())
    require_model(model, there)
    return _model(model)
