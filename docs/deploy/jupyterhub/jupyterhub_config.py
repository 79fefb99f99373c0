"""JupyterHub: a notebook for each user, and one engine that all of them share over HTTP.

    HUB_PASSWORD=... jupyterhub -f docs/deploy/jupyterhub/jupyterhub_config.py

It needs jupyterhub, dockerspawner, and the images `workbench:hub` and `workbench:cpu` of the Dockerfile beside this folder.
The engine beside the hub: docker run -d --name engine --network workbench -v models:/models workbench:cpu
"""

import os

c = get_config()  # noqa: F821

# Users have no weights in their containers: they generate on the shared engine and look into it.
ENGINE = os.environ.get("WORKBENCH_URL", "http://engine:30000")
NETWORK = "workbench"

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "host.docker.internal"  # the hub runs on the host, notebooks reach it there
c.JupyterHub.bind_url = "http://:8000"
c.DockerSpawner.image = "workbench:hub"
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.network_name = NETWORK
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.extra_host_config = {"extra_hosts": {"host.docker.internal": "host-gateway"}}
c.DockerSpawner.remove = True
c.DockerSpawner.notebook_dir = "/home/workbench"
c.DockerSpawner.volumes = {"workbench-user-{username}": "/home/workbench"}
c.Spawner.environment = {"WORKBENCH_URL": ENGINE, "WORKBENCH_API_KEY": os.environ.get("WORKBENCH_API_KEY", "")}
c.Spawner.mem_limit = "2G"
c.Spawner.cpu_limit = 1.0
c.Spawner.default_url = "/lab"
# Everyone signs in with one password: put an authenticator of your own here.
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["HUB_PASSWORD"]
c.Authenticator.allow_all = True
