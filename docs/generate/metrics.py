"""The page of the metrics, from the registry that `/metrics` is written from."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from generate.markdown import code, page, table, words
from workbench.server.metrics import REASONS, MetricSet

ABOUT = """
`--enable-metrics` serves them at `/metrics` in Prometheus' text form. All have the label `model_name`. `--metrics-alias
sglang` shows each a second time under the reference's prefix, `sglang:` in the place of `workbench_`, so that its dashboards
go on working. They are a fold over the engine's [event log](events.md): what a view of a notebook draws and what a dashboard
counts are the same facts. [](../how-to/monitor.md) has a dashboard.
"""


def metrics_page() -> str:
    """Writes one row per metric."""
    registry = CollectorRegistry()
    MetricSet("workbench_", "model", "generate_request", registry)
    rows = []
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"model_name", "le"})
        shown = ", ".join(f"{code(label)} ({', '.join(REASONS)})" if label == "reason" else code(label) for label in labels)
        rows.append((code(name), metric.type, shown, words(metric.documentation)))
    return page("Metrics", ABOUT, table(("metric", "kind", "labels", "meaning"), rows))
