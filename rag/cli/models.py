"""`rag models pull`: the only command that downloads models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.configs import LOCAL_CONFIG, load_config
from rag.cli.errors import CliError

if TYPE_CHECKING:
    from serve_app.config.args import AppArgs

app = typer.Typer(help="Models.", no_args_is_help=True, rich_markup_mode=None, add_completion=False)

NOT_NEEDED = ["*.onnx", "onnx/*", "openvino/*", "*.gguf", "*.h5", "*.msgpack", "*.ot", "original/*"]
"""Copies of the weights for other engines."""


@app.callback()
def _group() -> None:
    """Keeps `pull` a command of its own."""


@app.command()
def pull(
    config: Annotated[Path, typer.Option(help="Config file that names the models.")] = LOCAL_CONFIG,
) -> None:
    """Download the models that a config file names into the local cache; the next start uses them."""
    args = load_config(config).args
    for field, model, revision in wanted(args):
        typer.echo(f"{field}: {model}")
        typer.echo(f"  in {download(field, model, revision)}")


def wanted(args: AppArgs) -> list[tuple[str, str, str | None]]:
    """Field, model and revision of each model that a start needs and that is not a local folder."""
    from deployments.inference.weights import is_here

    stages = []
    if args.generation.engine in ("vllm", "auto"):
        stages.append(("generation.model", args.generation.model, args.generation.revision))
    if args.embedding.backend != "fake":
        stages.append(("embedding.model", args.embedding.model, args.embedding.revision))
    if args.reranking.backend != "fake":
        stages.append(("reranking.model", args.reranking.model, args.reranking.revision))
    return [stage for stage in stages if not is_here(stage[1])]


def download(field: str, model: str, revision: str | None) -> str:
    """Download the missing files of a model, with the hub's progress bars. Raises CliError. Returns the folder."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return str(snapshot_download(model, revision=revision, ignore_patterns=NOT_NEEDED))
    except GatedRepoError:
        reason = "needs a licence to be accepted on the hub; accept it there and set HF_TOKEN"
    except RevisionNotFoundError:
        reason = f"has no revision {revision}; name one that it has"
    except (RepositoryNotFoundError, HFValidationError):
        reason = "is no model of the hub, or a private one; check the name, or set HF_TOKEN"
    except OfflineModeIsEnabled:
        reason = "cannot be downloaded while HF_HUB_OFFLINE is set; unset it"
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        lines = str(error.__cause__ or error).strip().splitlines()
        cause = lines[0] if lines else type(error).__name__
        reason = f"could not be downloaded: the hub does not answer ({cause}); try again"
    raise CliError(f"{field}: {model} {reason}")
