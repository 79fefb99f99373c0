"""The commands of the files in `docs/deploy`, run here: the health check of the image, and a cluster's job as a script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from workbench.model.tiny import write_config
from workbench.server.ports import free_port

DEPLOY = Path(__file__).parents[2] / "docs/deploy"
pytestmark = pytest.mark.process
DUMMY = ("--load-format", "dummy", "--skip-tokenizer-init", "--max-total-tokens", "2000")


def is_well(*addresses: str) -> bool:
    return subprocess.run([sys.executable, DEPLOY / "docker/healthcheck.py", *addresses]).returncode == 0


def test_the_health_check_follows_the_server(server_process, tmp_path):
    server = server_process("--model-path", str(write_config(tmp_path)), *DUMMY)
    assert is_well("http://127.0.0.1:9/health", f"{server.url}/health")
    assert not is_well(f"{server.url}/no-such-page")
    server.close()
    assert not is_well(f"{server.url}/health")


def test_a_job_writes_its_address_when_it_serves_and_ends_when_its_time_is_up(tmp_path):
    """The commands in the job are those of this checkout; only the model's options differ."""
    tool = tmp_path / "bin/workbench"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/bash\n[ "$1" = models ] && exit 0\nexec {sys.executable} -m workbench "$@" {" ".join(DUMMY)}\n', encoding="utf-8"
    )
    tool.chmod(0o755)
    path = f"{tool.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    port = str(free_port("127.0.0.1"))
    environment = {**os.environ, "PATH": path, "MODEL": str(write_config(tmp_path / "model")), "PORT": port, "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_CPUS_PER_TASK": "1"}
    job = subprocess.Popen(["bash", DEPLOY / "slurm/serve.sbatch"], cwd=tmp_path, env=environment, start_new_session=True)
    address = tmp_path / "server-7.url"
    try:
        deadline = time.monotonic() + 90
        while not address.exists() and time.monotonic() < deadline and job.poll() is None:
            time.sleep(0.2)
        assert address.read_text().strip().endswith(f":{port}")
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        job.terminate()  # as the cluster does, to the script alone
        assert job.wait(60) in (0, 143)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/health")
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
