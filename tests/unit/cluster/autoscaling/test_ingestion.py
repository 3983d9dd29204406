"""The policy on Ray's own context, alone and inside what Serve's controller wraps it in."""

from __future__ import annotations

import pytest
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from cluster.autoscaling.ingestion import IngestionPolicy
from serve_app.config.file import load
from tests.support.config_files import ROOT, deployment

STAGE = DeploymentID("ingestion", "rag")
POLICY = IngestionPolicy(documents_per_replica=40, max_age_s=120)


def context(
    *reports: tuple[float, float, float],
    replicas: int = 1,
    target: int | None = None,
    now: float = 1_000.0,
    state: dict[str, object] | None = None,
    config: AutoscalingConfig | None = None,
    bounds: tuple[int, int] = (1, 8),
) -> AutoscalingContext:
    """`reports`: each replica's waiting documents, seconds that the oldest waits, and documents in work."""
    ids = [ReplicaID(f"r{number}", STAGE) for number in range(max(replicas, len(reports)))]
    names = ("waiting_documents", "oldest_waiting_s", "active_documents")
    return AutoscalingContext(
        deployment_id=STAGE,
        deployment_name="ingestion",
        app_name="rag",
        current_num_replicas=replicas,
        target_num_replicas=replicas if target is None else target,
        running_replicas=ids,
        total_num_requests=0,
        total_queued_requests=0,
        aggregated_metrics={
            name: {id: report[number] for id, report in zip(ids, reports, strict=False)}
            for number, name in enumerate(names)
        },
        raw_metrics={},
        capacity_adjusted_min_replicas=bounds[0],
        capacity_adjusted_max_replicas=bounds[1],
        policy_state=state or {},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now,
        config=config,
    )


@pytest.mark.parametrize(
    ("reports", "replicas", "target"),
    [
        pytest.param([(0, 0, 0)], 1, 1, id="nothing to do: the least"),
        pytest.param([(0, 0, 2), (0, 0, 1), (0, 0, 0)], 3, 1, id="few in work, none waits"),
        pytest.param([(40, 5, 0)], 1, 1, id="as many as one replica has"),
        pytest.param([(41, 5, 0)], 1, 2, id="one more"),
        pytest.param([(38, 5, 4)], 1, 2, id="those in work count"),
        pytest.param([(100, 5, 2), (110, 5, 2)], 2, 3, id="all see one queue, and each has its own work"),
        pytest.param([(100_000, 5, 4)], 1, 8, id="never more than the bound"),
        pytest.param([(3, 121, 4)], 1, 2, id="few that are too old: it grows"),
        pytest.param([(3, 150, 4)] * 4, 4, 5, id="by as much as they are too old"),
        pytest.param([(3, 100_000, 4)] * 3, 3, 6, id="to at most twice as many at once"),
        pytest.param([(3, 61, 0)] * 4, 4, 4, id="still late: it does not shrink"),
        pytest.param([(3, 59, 0)] * 4, 4, 1, id="in time again: it does"),
    ],
)
def test_the_target(reports: list[tuple[float, float, float]], replicas: int, target: int) -> None:
    given = context(*reports, replicas=replicas)
    assert POLICY(given) == (target, {})
    assert POLICY(given) == (target, {})  # it keeps nothing


def test_before_the_first_report_nothing_changes() -> None:
    assert POLICY(context(replicas=2, target=3)) == (3, {})


def test_the_least_is_the_deployment_s_own_bound() -> None:
    assert POLICY(context((0, 0, 0), replicas=3, bounds=(2, 8))) == (2, {})


def test_one_replica_stays_to_report_what_waits() -> None:
    assert POLICY(context((0, 0, 0), replicas=1, bounds=(0, 8))) == (1, {})


@pytest.mark.parametrize("wrong", [{"documents_per_replica": 0}, {"max_age_s": -1}])
def test_it_refuses_what_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        IngestionPolicy(**wrong)


def test_serve_scales_the_cluster_s_file_by_it_where_its_own_policy_sees_nothing() -> None:
    raw = load(ROOT / "serve_config.yaml").raw
    config = AutoscalingConfig(**deployment(raw, "ingestion")["autoscaling_config"])
    decide = _apply_autoscaling_config(_resolve_policy_callable(config.policy))
    default = AutoscalingConfig(min_replicas=1, max_replicas=8, target_ongoing_requests=4)
    decide_by_requests = _apply_autoscaling_config(default.policy.get_policy())

    def queue(state: dict[str, object], with_config: AutoscalingConfig) -> AutoscalingContext:
        return context((400, 90, 4), state=state, config=with_config)

    _, waits = decide(queue({}, config))
    assert config.upscale_delay_s is not None
    # Serve's own delay, over at the second decision of a clock that has moved on by it.
    waits = {key: value - config.upscale_delay_s if "timestamp" in key else value for key, value in waits.items()}
    target, _ = decide(queue(waits, config))
    assert target == config.max_replicas == 8
    assert decide_by_requests(queue({}, default))[0] == 1
