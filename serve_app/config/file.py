"""A config file: a Serve config whose `applications[0].args` are AppArgs.

Serve ignores unknown keys, and learns of impossible combinations when a replica dies. Here both are refused before
anything starts, each with the field's dotted path and the remedy.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.serve.schema import ServeDeploySchema

from serve_app.config.args import AppArgs
from serve_app.config.combinations import IMPORT_PATH, combination_problems
from serve_app.config.problems import raise_if_any
from serve_app.config.schema_check import schema_problems
from serve_app.config.yaml_file import read_yaml


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A checked file. `raw` is what Serve is given, `args` the application's part of it."""

    path: Path
    raw: dict[str, Any]
    args: AppArgs

    def with_data_dir(self, folder: Path) -> ConfigFile:
        """The same file with another data folder, in `raw` and in `args`."""
        raw = copy.deepcopy(self.raw)
        application = raw["applications"][0]
        application["args"] = {**(application.get("args") or {}), "data_dir": str(folder)}
        return ConfigFile(self.path, raw, self.args.model_copy(update={"data_dir": str(folder)}))


def load(path: Path) -> ConfigFile:
    """Read and check a config file. Raises ConfigError with every problem found."""
    raw = read_yaml(path)
    raise_if_any(schema_problems(raw, ServeDeploySchema, ""))
    applications = raw["applications"]
    if len(applications) != 1:
        raise_if_any([("applications", f"{len(applications)} are listed; exactly one is expected, {IMPORT_PATH}")])
    given = applications[0].get("args") or {}
    raise_if_any(schema_problems(given, AppArgs, "applications.0.args"))
    args = AppArgs.model_validate(given)
    raise_if_any(combination_problems(raw, args))
    return ConfigFile(path, raw, args)
