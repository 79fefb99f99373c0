"""The dashboard and its compose file: every name in them exists, in the files or in the metrics of a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from workbench.model.tiny import write_config

FOLDER = Path(__file__).parents[2] / "docs/deploy/monitoring"
FUNCTIONS = {"sum", "avg", "rate", "increase", "histogram_quantile", "by", "label_values"}
OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus adds."""


def read(path):
    return yaml.safe_load((FOLDER / path).read_text())


def dashboard():
    return json.loads((FOLDER / "grafana/grafana.json").read_text())


def queries(board):
    """Yields (title, expression, labels in the legend) of each query."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"], set()


def parts(expression):
    """Returns (names of metrics, labels) of an expression, and asserts that it has no other names."""
    names = set(re.findall(r"\$\{prefix\}(\w+)", expression))
    matched = set(re.findall(r"(\w+)=~?\"", expression))
    grouped = {label.strip() for each in re.findall(r"by \(([^)]*)\)", expression) for label in each.split(",")}
    grouped |= set(re.findall(r"label_values\([^,]*, (\w+)\)", expression))
    rest = re.sub(r"\$\{prefix\}\w+|\{[^}]*\}|\[[^]]*\]|by \([^)]*\)", " ", expression)
    words = set(re.findall(r"[a-z_]\w*", rest)) - grouped
    assert words <= FUNCTIONS, expression
    return names, matched | grouped


@pytest.fixture(scope="module")
def served(server_process, tmp_path_factory):
    """Labels of each sample that a fresh server serves, by its name."""
    folder = str(write_config(tmp_path_factory.mktemp("model")))
    server = server_process(
        "--model-path", folder, "--load-format", "dummy", "--skip-tokenizer-init", "--max-total-tokens", "2000",
        "--enable-metrics", "--metrics-alias", "sglang",
    )  # fmt: skip
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    server.close()
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


@pytest.mark.process
@pytest.mark.parametrize("prefix", ["workbench_", "sglang:"])
def test_every_name_and_label_of_the_dashboard_is_served(served, prefix):
    board = dashboard()
    offered = next(each for each in board["templating"]["list"] if each["name"] == "prefix")["query"].split(",")
    assert prefix in offered
    seen = set()
    for title, expression, legend in queries(board):
        names, labels = parts(expression)
        assert names, title
        for name in names:
            assert prefix + name in served, (title, name)
            assert labels | legend <= served[prefix + name] | OF_PROMETHEUS, title
        seen |= names
    assert {"num_running_reqs", "token_usage", "time_to_first_token_seconds_bucket"} <= seen


def as_promql(expression):
    """Returns an expression as Grafana sends it: with values in the place of variables."""
    values = {"prefix": "workbench_", "model": ".*", "instance": "a|b", "__rate_interval": "1m"}
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], expression)


def test_every_expression_has_a_meaning_to_prometheus():
    promql = pytest.importorskip("promql_parser", reason="extra `test` brings promql-parser")
    expressions = [expression for _, expression, _ in queries(dashboard()) if "label_values" not in expression]
    assert len(expressions) > 15
    for expression in expressions:
        promql.parse(as_promql(expression))
        with pytest.raises(ValueError):
            promql.parse(as_promql(expression)[:-1])


UNITS = {"short", "percentunit", "s", "reqps"}
"""Those of Grafana's units that the dashboard uses."""


def test_every_panel_says_what_it_shows_in_which_unit_and_asks_the_chosen_source():
    board = dashboard()
    variables = {each["name"]: each["type"] for each in board["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    for names in ([p["title"] for p in board["panels"]], [p["id"] for p in board["panels"]]):
        assert len(names) == len(set(names)), "a name or number that two panels have"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in board["panels"]:
        title = panel["title"]
        assert panel["description"].endswith("."), title
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0, title
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(legends) == len(set(legends)), title
        assert all(each["datasource"] == chosen for each in (panel, *panel["targets"])), title
    for title, expression, _ in queries(board):
        used = set(re.findall(r"\$\{?(\w+)\}?", expression))
        assert used <= variables.keys() | {"__rate_interval"}, title
        if "label_values" not in expression:
            assert used >= {"prefix", "model", "instance"}, title
        for opened, closed in ("()", "[]", "{}"):
            assert expression.count(opened) == expression.count(closed), title


def test_the_panels_have_places_of_their_own():
    taken = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_files_refer_to_files_that_exist():
    compose = read("compose.yaml")
    mounted = {}
    for service in compose["services"].values():
        for volume in service["volumes"]:
            here, there, mode = volume.split(":")
            assert mode == "ro"
            assert (FOLDER / here).exists(), here
            mounted[there] = FOLDER / here
    (config,) = [word.partition("=")[2] for word in compose["services"]["prometheus"]["command"] if "config.file" in word]
    assert mounted[config].name == "prometheus.yaml"
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    (provider,) = read("grafana/provisioning/dashboards/workbench.yaml")["providers"]
    assert mounted[home].name == "grafana.json"
    assert str(Path(home).parent) == provider["options"]["path"]
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "$PROMETHEUS_URL"
    assert compose["services"]["grafana"]["environment"]["PROMETHEUS_URL"] == "http://127.0.0.1:9090"
    assert read("prometheus.yaml")["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:30000"]
