"""Writes Grafana's dashboards: `python -m cluster.observability.dashboards`. Needs requirements-dev.lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${source}")
WINDOW = "$__rate_interval"


class Panel(NamedTuple):
    """`queries`: expression → legend. `unit` is one of Grafana's."""

    title: str
    unit: str
    queries: Mapping[str, str]
    about: str = ""


def rate(metric: str, *by: str, where: str = "") -> str:
    return (
        f"sum by ({', '.join(by)}) (rate({metric}{where}[{WINDOW}]))" if by else f"sum(rate({metric}{where}[{WINDOW}]))"
    )


def quantiles(metric: str, *by: str, of: Sequence[float] = (0.5, 0.95)) -> dict[str, str]:
    """Of a histogram."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    buckets = rate(f"{metric}_bucket", "le", *by)
    return {f"histogram_quantile({q}, {buckets})": f"{legend} p{100 * q:g}".strip() for q in of}


def mean(metric: str, *by: str) -> str:
    return f"{rate(f'{metric}_sum', *by)} / {rate(f'{metric}_count', *by)}"


def by_deployment(function: str, metric: str) -> dict[str, str]:
    return {f"{function} by (deployment) ({metric})": "{{deployment}}"}


STAGE_AND_WORK = "{{stage}} {{work}}"
DASHBOARDS: Mapping[str, Sequence[Panel]] = {
    "Service": [
        Panel("Requests", "reqps", {rate("ray_rag_request_seconds_count", "route"): "{{route}}"}),
        Panel("Statuses", "reqps", {rate("ray_rag_requests_total", "status"): "{{status}}"}),
        Panel("Failures", "reqps", {rate("ray_rag_requests_failed_total", "route"): "{{route}}"}, "Statuses from 500."),
        Panel("Refusals", "reqps", {rate("ray_rag_refusals_total", "code"): "{{code}}"}, "Errors by their code."),
        Panel("Answers", "reqps", {rate("ray_rag_questions_total", "outcome"): "{{outcome}}"}),
        Panel("First text of an answer", "s", quantiles("ray_rag_first_token_seconds", of=(0.5, 0.95, 0.99))),
        Panel("End of an answer", "s", quantiles("ray_rag_question_seconds", of=(0.5, 0.95, 0.99))),
        Panel("Answers without a stage", "reqps", {rate("ray_rag_degraded_total", "stage"): "{{stage}}"}),
        Panel(
            "Spent of the objectives",
            "percentunit",
            {
                "rag:first_token_slow:ratio_rate5m": "answers that begin late",
                "rag:requests_failed:ratio_rate5m": "requests with 5xx",
                "rag:answers_failed:ratio_rate5m": "answers that fail",
            },
            "Shares of the last five minutes.",
        ),
    ],
    "Stages and scaling": [
        Panel("Time in each stage", "s", quantiles("ray_rag_stage_seconds", "stage")),
        Panel("Calls wait", "s", {mean("ray_rag_stage_queue_seconds", "stage", "work"): STAGE_AND_WORK}),
        Panel("Replicas work", "s", {mean("ray_rag_stage_service_seconds", "stage", "work"): STAGE_AND_WORK}),
        Panel("Serve and network", "s", {"rag:stage_framework_seconds:mean5m": STAGE_AND_WORK}),
        Panel("Calls", "reqps", {rate("ray_rag_stage_service_seconds_count", "stage", "work"): STAGE_AND_WORK}),
        Panel("Shared calls", "reqps", {rate("ray_rag_shared_calls_total", "stage", "work"): STAGE_AND_WORK}),
        Panel("How full passes are", "percentunit", {mean("ray_rag_batch_fill", "stage", "work"): STAGE_AND_WORK}),
        Panel("Replicas", "none", {"sum by (deployment) (ray_serve_deployment_replica_healthy)": "{{deployment}}"}),
        Panel(
            "State", "none", {"max by (deployment) (ray_serve_deployment_status)": "{{deployment}}"}, "6 is healthy."
        ),
        Panel(
            "Requests at replicas",
            "none",
            {"sum by (deployment) (ray_serve_replica_processing_queries)": "{{deployment}}"},
        ),
        Panel("Processors", "percent", {"ray_node_cpu_utilization": "{{ip}}"}),
        Panel("Memory", "bytes", {"ray_node_mem_used": "{{ip}}"}),
    ],
    "Generation and GPU": [
        Panel(
            "Slots",
            "none",
            {
                "sum(ray_rag_slots)": "there are",
                "sum(ray_rag_slots_used)": "in use",
                "sum(ray_rag_slots_waited_for)": "waited for",
            },
        ),
        Panel("Time between tokens", "s", quantiles("ray_rag_token_seconds", "engine")),
        Panel("Tokens", "none", {rate("ray_rag_tokens_total", "kind"): "{{kind}}"}, "Of the prompts, some are cached."),
        Panel(
            "Prefix cache",
            "percentunit",
            {f"{rate('ray_vllm_prefix_cache_hits_total')} / {rate('ray_vllm_prefix_cache_queries_total')}": "hits"},
        ),
        Panel(
            "vLLM's requests",
            "none",
            {
                "sum(ray_vllm_num_requests_running)": "running",
                "sum(ray_vllm_num_requests_waiting)": "waiting",
            },
        ),
        Panel("KV cache", "percentunit", {"max(ray_vllm_kv_cache_usage_perc)": "in use"}),
        Panel("Wait in vLLM", "s", quantiles("ray_vllm_request_queue_time_seconds")),
        Panel("GPUs", "percent", {"ray_node_gpus_utilization": "{{ip}} {{GpuIndex}}"}),
        Panel("GPU memory in use", "decmbytes", {"ray_node_gram_used": "{{ip}} {{GpuIndex}}"}),
    ],
    "Ingestion": [
        Panel("Documents wait", "none", {"max by (tenant_class) (ray_rag_documents_waiting)": "{{tenant_class}}"}),
        Panel("The oldest one waits", "s", {"max(ray_rag_ingestion_lag_seconds)": "lag"}),
        Panel("Documents a second", "none", {rate("ray_rag_documents_total", "outcome"): "{{outcome}}"}),
        Panel("Documents", "none", {"max(ray_rag_documents_stored)": "documents"}),
        Panel("Passages", "none", {"max(ray_rag_index_passages)": "passages"}),
        Panel("Bytes in the blob store", "bytes", {"max(ray_rag_blob_bytes)": "bytes"}),
        Panel("Webhooks wait", "none", {"max(ray_rag_webhooks_waiting)": "messages"}),
    ],
    "Tenants": [
        Panel("Questions", "reqps", {rate("ray_rag_tenant_questions_total", "tenant"): "{{tenant}}"}),
        Panel("Tokens", "none", {rate("ray_rag_tokens_total", "tenant", where='{kind!="cached"}'): "{{tenant}}"}),
        Panel("Documents", "none", {rate("ray_rag_documents_total", "tenant"): "{{tenant}}"}),
        Panel(
            "Failed answers",
            "reqps",
            {rate("ray_rag_tenant_questions_total", "tenant", where='{result="failed"}'): "{{tenant}}"},
        ),
    ],
}


def files() -> Iterator[tuple[Path, str]]:
    """Each dashboard's file and its content."""
    for title, panels in DASHBOARDS.items():
        name = title.lower().replace(" ", "-")
        yield FOLDER / f"{name}.json", JSONEncoder(sort_keys=True, indent=2).encode(_built(title, name, panels)) + "\n"


def _built(title: str, name: str, panels: Sequence[Panel]) -> models.Dashboard:
    built = (
        dashboard.Dashboard(f"rag: {title}")
        .uid(f"rag-{name}")
        .tags(["rag"])
        .refresh("30s")
        .time("now-1h", "now")
        .link(dashboard.DashboardLink("rag").type(models.DashboardLinkType.DASHBOARDS).tags(["rag"]))
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for panel in panels:
        built.with_panel(_panel(panel))
    return built.build()


def _panel(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    built = timeseries.Panel().title(panel.title).description(panel.about).unit(panel.unit)
    built.datasource(SOURCE).span(8).height(8).min(0).fill_opacity(10).legend(legend.show_legend(True))
    for expression, legend_format in panel.queries.items():
        built.with_target(prometheus.Dataquery().expr(expression).legend_format(legend_format))
    return built


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in files():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(Path.cwd()))
