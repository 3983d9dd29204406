"""What a node needs to start and `ray.init` has no option for.

That is free ports of its agents, time on a busy machine, and folders for its owner alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any

import psutil

from cluster.ports import free_ports

# `ray` is imported inside the functions: see node.py.

NODE_START_S = 300
"""A node that has not registered with Ray by then will not."""
_POLL_S = 0.1
_AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def adapted_start() -> Iterator[None]:
    """A node started in here may take NODE_START_S, its agents listen on free ports, and its folder stays its owner's.

    - The ports are chosen here. A raylet ends itself if an agent that chooses its own has not done so within 15 s, and
      no flag says otherwise. It also waits for a file with one of the chosen ports, so the file is written before.
      Ray's own fixed port belongs to another Ray on the machine, if there is one. Without that agent the dashboard
      takes no jobs.
    - Ray itself gives a node 30 s to register, which a busy machine needs for the agents alone. It asks without a pause
      meanwhile.
    - Ray opens the folders that it makes, and the one that it is given, to every user of the machine (mode 0777). The
      replicas' temporary files are in the latter. A user who may write to it could also replace a private folder in it.
    """
    from ray._common import utils
    from ray._private import parameter, services

    usual = parameter.RayParams, services.start_raylet, services.get_node
    shared = utils.try_make_directory_shared
    parameter.RayParams = partial(_with_ports, usual[0])
    services.start_raylet = partial(_start_raylet, usual[1])
    services.get_node = partial(_registered_node, usual[2])
    utils.try_make_directory_shared = _leave_private
    try:
        yield
    finally:
        parameter.RayParams, services.start_raylet, services.get_node = usual
        utils.try_make_directory_shared = shared


def _leave_private(directory_path: str) -> None:
    """In place of Ray's own, which gives everybody all rights to the folder."""


def _with_ports(params: Callable[..., Any], **given: Any) -> Any:
    """Ray's parameters of a node. `ray.init` gives one of the ports itself, as None."""
    return params(**{**given, **dict(zip(_AGENT_PORTS, free_ports(len(_AGENT_PORTS)), strict=True))})


def _start_raylet(start: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """`start_raylet`, after writing down the port of its dashboard agent, which it is not told otherwise."""
    from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port  # type: ignore[attr-defined]  # no stub

    given = signature(start).bind(*arguments, **options).arguments
    port = given["dashboard_agent_listen_port"]
    persist_port(given["session_dir"], given["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME, port)
    return start(*arguments, **options)


def _registered_node(get_node: Callable[[str, str], Any], gcs_address: str, node_id: str) -> Any:
    """What Ray knows of a node, once it has registered.

    Raises RuntimeError if it has not within NODE_START_S, or has ended.
    """
    end = time.monotonic() + NODE_START_S
    while True:
        try:
            return get_node(gcs_address, node_id)
        except RuntimeError:
            if time.monotonic() >= end or _raylet_has_ended():
                raise
        time.sleep(_POLL_S)


def _raylet_has_ended() -> bool:
    raylets = [process for process in psutil.Process().children() if process.name() == "raylet"]
    return any(process.status() == psutil.STATUS_ZOMBIE for process in raylets)
