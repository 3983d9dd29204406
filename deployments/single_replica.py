"""Embedded stores (an index folder, a SQLite file, a local blob folder) allow one replica only.

`rag config check` refuses a configuration with more. A replica that was started without that check refuses here.
"""

from __future__ import annotations

from ray import serve
from ray.serve.exceptions import RayServeException


def require_single_replica(stores: str) -> None:
    """Raises ValueError if this replica's deployment may have more than one replica.

    `stores` names the configuration's fields of the embedded stores, for the error; empty if there are none. Outside
    Serve nothing is checked.
    """
    if not stores:
        return
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return
    config = context._deployment_config
    replicas = config.autoscaling_config.max_replicas if config.autoscaling_config else config.num_replicas
    if replicas is not None and replicas > 1:
        raise ValueError(
            f"deployments.{context.deployment}: {replicas} replicas, but {stores} is embedded and has one owner; "
            "set num_replicas: 1, or name a server there"
        )
