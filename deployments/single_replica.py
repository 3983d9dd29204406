"""An embedded store has one owner. `rag config check` refuses a file that says otherwise; a replica that was started
without that check finds out here."""

from __future__ import annotations

from ray import serve
from ray.serve.exceptions import RayServeException


def refuse_company(stores: str) -> None:
    """Raises ValueError, naming `stores` (fields of the configuration; empty: none), if this replica's deployment
    may have more than one replica. Outside Serve there is no company to refuse."""
    if not stores:
        return
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return
    config = context._deployment_config
    most = config.autoscaling_config.max_replicas if config.autoscaling_config else config.num_replicas
    if most is not None and most > 1:
        raise ValueError(
            f"deployments.{context.deployment}: {most} replicas, but {stores} is embedded and has one owner; "
            "set num_replicas: 1, or name a server there"
        )
