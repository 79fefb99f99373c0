"""The files in `docs/deploy`: each is well-formed to its own tool, and names only commands, flags, ports and files that exist."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from workbench import models_cli, serve_cli
from workbench.config import ServerArgs
from workbench.hub.catalog import CATALOG
from workbench.server.middleware import OPEN_PATHS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs/deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OBJECTS = [path for path in KUBERNETES if path.stem not in ("kustomization", "adapter")]
PORTS = {30000: "the server", 8888: "JupyterLab", 3000: "Grafana", 9090: "Prometheus", 8000: "JupyterHub"}
COMMAND = re.compile(r"(?:\S+/)?workbench (?:serve|models) [^\n&;`|]*")


def read(name: str) -> str:
    return (DEPLOY / name).read_text("utf-8")


def deployment() -> dict:
    return yaml.safe_load(read("kubernetes/deployment.yaml"))


def server_of_pod() -> dict:
    (server,) = deployment()["spec"]["template"]["spec"]["containers"]
    return server


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the Dockerfile: (word, the rest)."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", read("docker/Dockerfile"), flags=re.M))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


def commands() -> list[list[str]]:
    """Returns every `workbench` command of the files, as words."""
    found = [json.loads(rest) for word, rest in instructions() if word == "CMD" and "serve" in rest]
    for name in ("compose/compose.yaml", "compose/cuda.yaml"):
        found.append([str(word) for word in yaml.safe_load(read(name))["services"]["server"]["command"]])
    pod = deployment()["spec"]["template"]["spec"]
    found += [each["command"] + each.get("args", []) for each in pod["initContainers"] + pod["containers"]]
    texts = [read("skypilot/workbench.yaml"), read("slurm/serve.sbatch"), read("systemd/workbench.service")]
    texts += ["\n".join(re.findall(r"```bash\n(.*?)```", path.read_text(), re.S)) for path in DEPLOY.glob("*.md")]
    for text in texts:
        found += [shlex.split(line, comments=True) for line in COMMAND.findall(re.sub(r"\\\n\s*", "", text))]
    return [[Path(words[0]).name, *words[1:]] for words in found]


def test_every_command_is_one_that_the_product_takes():
    parser = argparse.ArgumentParser(prog="workbench", exit_on_error=False)
    subparsers = parser.add_subparsers(dest="command")
    serve_cli.add_parser(subparsers)
    models_cli.add_parser(subparsers)
    seen = set()
    for words in commands():
        given = [re.sub(r"\$\{SLURM_CPUS_PER_TASK.*|\$\{?PORT\}?", "8", word) for word in words[1:]]
        given = [re.sub(r"\$\{?DEVICE\}?", "cpu", word) for word in given]
        args = parser.parse_args(given)
        model = getattr(args, "model", None) or getattr(args, "name", None)
        assert model in CATALOG or "MODEL" in model or "/" in model, words
        seen.add(args.command)
        if args.command == "serve":
            assert args.port == (8 if "$PORT" in " ".join(words) else 30000), words
    assert seen == {"serve", "models"}
    assert len(commands()) >= 10


def test_flags_that_the_pages_name_exist():
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    known = {flag for action in parser._actions for flag in action.option_strings}
    of_others = {
        "--build-arg", "--target", "--rm", "--gpus", "--shm-size", "--ipc", "--ip", "--no-browser", "--env", "--endpoint",
        "--export", "--array", "--gres", "--from-literal", "--now", "--name", "--network", "--build", "--out", "--tp-size",
        "--nnodes",
    }  # fmt: skip
    for path in DEPLOY.glob("*.md"):
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text())) <= known | of_others, path.name


def test_ports_and_health_are_those_of_the_product():
    assert ServerArgs().port == 30000
    for path in [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".json"]:
        for port in re.findall(r"(?:127\.0\.0\.1|0\.0\.0\.0|localhost|server|engine|prometheus):(\d+)", path.read_text()):
            assert int(port) in PORTS, (path.name, port)
    server = server_of_pod()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert server["ports"] == [{"name": "http", "containerPort": 30000}]
    assert {"/health", yaml.safe_load(read("skypilot/workbench.yaml"))["service"]["readiness_probe"]["path"]} <= OPEN_PATHS


def test_a_stop_leaves_running_requests_the_time_that_they_have():
    pod = deployment()["spec"]["template"]["spec"]
    words = pod["containers"][0]["args"]
    drain = float(words[words.index("--drain-timeout-s") + 1])
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= drain + pause + 10
    unit = read("systemd/workbench.service")
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) >= float(re.search(r"--drain-timeout-s (\d+)", unit)[1]) + 10
    compose = yaml.safe_load(read("compose/compose.yaml"))["services"]["server"]
    assert int(compose["stop_grace_period"].removesuffix("s")) >= ServerArgs().drain_timeout_s + 10
    job = read("slurm/serve.sbatch")
    assert int(re.search(r"--signal=B:TERM@(\d+)", job)[1]) > int(re.search(r"--drain-timeout-s (\d+)", job)[1])


def test_the_image_is_made_of_files_and_extras_that_exist_and_runs_as_nobody_in_particular():
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions():
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source in kept, f"{source} is not sent to the daemon"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [extra for each in re.findall(r'"\.\[(.*?)\]"', read("docker/Dockerfile")) for extra in each.split(",")]
    assert set(asked) == {"engine", "notebook", "server", "cuda"} <= set(extras)
    stages: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            stages[rest.split(" AS ")[1]] = []
        elif stages:
            stages[[*stages][-1]].append((word, rest))
    for name in ("cpu", "cuda"):
        words = dict(stages[name])
        assert words["USER"] == "1000"
        assert words["EXPOSE"] == "30000 8888"
        assert words["HEALTHCHECK"].endswith('CMD ["python", "/usr/local/bin/healthcheck.py"]')
    assert [rest for word, rest in stages["hub"] if word == "USER"][-1] == "1000"


def test_the_compose_files_mount_files_that_exist_and_watch_the_server():
    services = yaml.safe_load(read("compose/compose.yaml"))["services"]
    folder = DEPLOY / "compose"
    build = services["server"]["build"]
    assert (folder / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    for service in services.values():
        for volume in service["volumes"]:
            if volume.startswith("."):
                assert (folder / volume.split(":")[0]).exists(), volume
    (job,) = yaml.safe_load(read("compose/prometheus.yaml"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["server:30000"]}]
    assert services["grafana"]["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    assert "--enable-metrics" in services["server"]["command"]


def test_the_autoscaler_reads_a_metric_that_the_server_has_and_the_adapter_brings():
    from workbench.server import metrics

    (metric,) = yaml.safe_load(read("kubernetes/autoscaler.yaml"))["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert f'"{name.removeprefix("workbench_")}"' in Path(metrics.__file__).read_text()
    (rule,) = yaml.safe_load(read("kubernetes/adapter.yaml"))["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert name in rule["seriesQuery"]
    assert name in rule["metricsQuery"]
    assert "--enable-metrics" in server_of_pod()["args"]
    annotations = deployment()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "30000"


def test_objects_refer_to_each_other():
    names = {path.name: yaml.safe_load(path.read_text()) for path in OBJECTS}
    assert set(yaml.safe_load(read("kubernetes/kustomization.yaml"))["resources"]) == set(names)
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    assert deployment()["spec"]["selector"]["matchLabels"] == labels == names["service.yaml"]["spec"]["selector"]
    assert names["disruption.yaml"]["spec"]["selector"]["matchLabels"] == labels
    target = names["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment()["metadata"]["name"])
    pod = deployment()["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"] + pod["initContainers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == names["models.yaml"]["metadata"]["name"]


@pytest.mark.heavy
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_an_object_is_valid_to_kubernetes(path):
    validate = pytest.importorskip("kubernetes_validate", reason="extra `test` brings kubernetes-validate")
    found = yaml.safe_load(path.read_text())
    validate.validate(found, validate.latest_version(), strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**found, "metadata": {"name": 3, "labels": []}}, validate.latest_version(), strict=True)


@pytest.mark.process
def test_kustomize_renders_the_objects():
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True)
    rendered = [*yaml.safe_load_all(done.stdout)]
    assert len(rendered) == len(OBJECTS)
    assert "image: workbench:cpu" in done.stdout


def schema_of(name: str) -> dict:
    check = pytest.importorskip("check_jsonschema", reason="extra `test` brings check-jsonschema")
    return json.loads((Path(check.__file__).parent / f"builtin_schemas/vendor/{name}.json").read_text())


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["compose/compose.yaml", "compose/cuda.yaml", "monitoring/compose.yaml"])
def test_a_compose_file_fits_its_schema(name):
    import jsonschema

    jsonschema.validate(yaml.safe_load(read(name)), schema_of("compose-spec"))


def test_the_citation_fits_its_schema():
    import jsonschema

    jsonschema.validate(yaml.safe_load((ROOT / "CITATION.cff").read_text()), schema_of("citation-file-format"))


def tool(name: str) -> str:
    """Returns the path of a tool of the extra `test`, or skips the test."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.process
def test_linters_find_nothing_in_the_dockerfile_and_in_the_job(tmp_path):
    subprocess.run([tool("shellcheck"), DEPLOY / "slurm/serve.sbatch"], check=True)
    subprocess.run([tool("hadolint"), DEPLOY / "docker/Dockerfile"], check=True)
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
    assert subprocess.run([tool("hadolint"), tmp_path / "Dockerfile"], capture_output=True).returncode != 0


@pytest.mark.process
def test_the_service_is_valid_to_systemd(tmp_path):
    analyze = tool("systemd-analyze")
    unit = tmp_path / "workbench.service"
    unit.write_text(read("systemd/workbench.service").replace("/opt/workbench/bin/workbench", sys.executable))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr


def test_the_hub_starts_the_image_and_hands_over_the_engines_address(monkeypatch):
    traitlets = pytest.importorskip("traitlets.config")
    config = traitlets.Config()
    monkeypatch.setenv("HUB_PASSWORD", "secret")
    exec(read("jupyterhub/jupyterhub_config.py"), {"get_config": lambda: config})
    assert config.DockerSpawner.image == "workbench:hub"
    assert config.Spawner.environment["WORKBENCH_URL"] == "http://engine:30000"
    assert config.DummyAuthenticator.password == "secret"
    monkeypatch.delenv("HUB_PASSWORD")
    with pytest.raises(KeyError):
        exec(read("jupyterhub/jupyterhub_config.py"), {"get_config": lambda: config})


def test_pages_link_to_files_that_exist():
    for path in DEPLOY.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), (path.name, target)
