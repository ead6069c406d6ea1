# SPDX-License-Identifier: Apache-2.0
"""A release of the chart without a cluster: pods are processes with the chart's
own rendered environment on loopback addresses of their own, Services pass
connections on to ready pods as kube-proxy does, Lua is mounted as the kubelet
mounts a projected volume. Missing names what cannot be had here."""
import asyncio
import base64
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

try:
    import yaml
except ImportError:
    yaml = None

from cluster import Cluster, Missing, Role, die_with_parent, free_port
from xin_process import BINARY, OPENER, ROOT

HERE = pathlib.Path(__file__).resolve().parent
CHART = ROOT / "deploy" / "helm" / "xin-platform"
SECRETS = ("XIN_STORE_URL", "INGEST_REDIS_PASSWORD", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY",
           "QDRANT_API_KEY", "XIN_ADMIN_KEY", "XIN_SERVICE_KEY", "GATEWAY_WEBHOOK_SECRET")
ENDPOINT_LAG = 2.0  # seconds in which a pod that was told to go still gets connections


def helm():
    if yaml is None:
        raise Missing("no YAML for Python here: install the package python3-yaml")
    found = subprocess.run([str(HERE / "chart_tool_get"), "helm"], capture_output=True, text=True,
                           check=False)
    if found.returncode != 0:
        raise Missing("no helm here: it is built with Go")
    return found.stdout.strip()


def render(values, *words):
    """The chart's objects for the staging values with these on top."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        done = subprocess.run(
            [helm(), "template", "xin-platform", str(CHART), "--namespace", "xin-staging",
             "--values", str(CHART / "values-staging.yaml"), "--values", file.name, *words],
            capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return [o for o in yaml.safe_load_all(done.stdout) if o]


class Projected:
    """A projected volume as the kubelet keeps it: ..data leads to a folder with
    the time in its name and is replaced by a rename; what pods see leads there."""
    numbers = itertools.count(100000000)

    def __init__(self, folder, files):
        self.folder = folder
        folder.mkdir()
        self.write(files)
        for top in {path.split("/")[0] for path in files}:
            (folder / top).symlink_to(f"..data/{top}")

    def write(self, files):
        old = os.readlink(self.folder / "..data") if (self.folder / "..data").exists() else None
        name = time.strftime("..%Y_%m_%d_%H_%M_%S.") + str(next(self.numbers))
        for path, text in files.items():
            file = self.folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (self.folder / "..data_tmp").symlink_to(name)
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        if old:
            shutil.rmtree(self.folder / old)


class Service:
    """Each connection goes to one ready pod, in turn, and stays with it."""

    def __init__(self):
        self.endpoints, self.turn, self.refused = [], 0, 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self._pass_on, sock=self.socket))
        self.loop.run_forever()

    async def _pass_on(self, reader, writer):
        try:
            self.turn += 1
            host, port = self.endpoints[self.turn % len(self.endpoints)]
            to_reader, to_writer = await asyncio.open_connection(host, port)
        except (OSError, ZeroDivisionError, IndexError):
            self.refused += 1
            writer.transport.abort()
            return
        await asyncio.gather(self._pump(reader, to_writer, writer),
                             self._pump(to_reader, writer, to_writer))
        for end in (writer, to_writer):
            end.close()

    @staticmethod
    async def _pump(reader, writer, other):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.transport.abort()
            other.transport.abort()

    def close(self):
        self.loop.set_exception_handler(lambda *_: None)  # connections that are cut
        self.loop.call_soon_threadsafe(self.loop.stop)


class Pod(Role):
    """One process of a Deployment."""
    addresses = itertools.count(1)

    def __init__(self, release, component):
        deployment = release.deployments[component]
        spec = deployment["spec"]["template"]["spec"]
        container = spec["containers"][0]
        self.release, self.component = release, component
        self.grace = spec["terminationGracePeriodSeconds"]
        self.ip = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}.{next(self.addresses)}"
        self.ports = {p["name"]: self._port(p["containerPort"]) for p in container["ports"]}
        self.first = (self.ip, self.ports[container["ports"][0]["name"]])
        self.told_at = None
        super().__init__(container["args"][0])
        self.url = "http://%s:%d" % self.first
        self.lua = Projected(self.home / "mounted", release.lua_files(spec))
        self.settings = release.environment(container) | self._place()

    def _port(self, wanted):
        with socket.socket() as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.ip, wanted))
                return wanted
            except OSError:
                return free_port()  # somebody has the chart's port on all addresses

    def _place(self):
        """What a network and a mount namespace would do, and nothing else."""
        place = {"XIN_DATA_DIR": str(self.home / "data"), "XIN_LUA_DIR": str(self.home / "mounted")}
        http, metrics = self.ports.get("http"), self.ports.get("metrics")
        if self.component == "orchestrator":
            place["XIN_ORCHESTRATOR_LISTEN"] = f"{self.ip}:{http}"
        elif self.component == "channel-gateway":
            place |= {"XIN_GATEWAY_LISTEN": f"{self.ip}:{http}", "GATEWAY_METRICS_HOST": self.ip,
                      "GATEWAY_METRICS_PORT": str(metrics),
                      "XIN_ORCHESTRATOR_URL": self.release.services["orchestrator"].url}
        else:
            place |= {"INGEST_METRICS_HOST": self.ip, "INGEST_METRICS_PORT": str(self.first[1])}
        return place

    def start(self, wait=60, prefix=(), **settings):
        known = self.release.known_settings()
        environment = {"PATH": os.environ["PATH"]} | {
            name: value for name, value in (self.settings | settings).items()
            if not name.startswith("XIN_") or name in known}
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        with open(self.home / "stderr", "a") as stderr:
            self.process = subprocess.Popen(
                [*prefix, str(self.release.binary), self.command], env=environment, cwd=self.home,
                text=True, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=die_with_parent)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        until = time.monotonic() + wait
        while not self.is_ready():
            said = self.last_words()
            if said or time.monotonic() > until:
                raise AssertionError(f"{self.component} did not get ready: {said or self.logs[-5:]}")
            time.sleep(0.05)
        return self

    def _read(self, process):
        for line in process.stdout:
            self.logs.append(line)

    def is_ready(self):
        try:
            with OPENER.open(self.url + "/health", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def metrics(self):
        with OPENER.open(self.url + "/metrics", timeout=10) as response:
            return response.read().decode()

    def generation(self):
        return re.search(r'xin_script_generation_info\{[^}]*generation="([^"]+)"',
                         self.metrics()).group(1)

    def stop(self):
        """At the test's end: a second signal ends the time for balancers."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            time.sleep(0.1)
        super().stop()

    def delete(self):
        """As a Deployment deletes a pod: SIGTERM, and the Service hears of it a
        while later. Returns how long the pod took to end; its code must be 0."""
        began = self.told_at = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(self.grace)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.component} outlived its grace time") from None
        assert code == 0, f"{self.component} ended with {code}: {self.last_words()}"
        return time.monotonic() - began


class Release:
    """`values` go on top of the staging values and the back ends' addresses."""

    def __init__(self, values=None, binary=BINARY, **settings):
        self.binary = binary
        self.pods, self.services = [], {}
        self.over = threading.Event()
        self.cluster = Cluster(binary=binary, **settings)
        try:
            self._render(values or {})
        except BaseException:
            self.cluster.close()
            raise
        for component in ("orchestrator", "channel-gateway"):
            self.services[component] = Service()
        threading.Thread(target=self._endpoints, daemon=True).start()

    def _render(self, values):
        config = {name: int(value) if value.isdigit() else value
                  for name, value in self.cluster.settings.items()
                  if name not in (*SECRETS, "XIN_AUTH", "XIN_SCRIPT_POLL_MS")}
        values = {"config": config | {"OTEL_EXPORTER_ENDPOINT": "", "XIN_LOOPS": 1}
                  } | {k: v for k, v in values.items() if k != "config"}
        values["config"] |= (values.get("config") or {})
        self.objects = render(values)
        named = {(o["kind"], o["metadata"]["name"]): o for o in self.objects}
        self.deployments = {
            o["metadata"]["labels"]["app.kubernetes.io/component"]: o
            for o in self.objects if o["kind"] == "Deployment"}
        self.config_maps = {name: o.get("data", {}) for (kind, name), o in named.items()
                            if kind == "ConfigMap"}
        # What External Secrets would fetch: these names from one place.
        vault = {name: self.cluster.settings[name] for name in SECRETS}
        vault["INGESTION_API_KEY"] = vault["XIN_ADMIN_KEY"]
        self.secrets = {
            o["spec"]["target"]["name"]: {
                d["secretKey"]: vault[d["secretKey"]] for d in o["spec"]["data"]
                if d["secretKey"] in vault}
            for o in self.objects if o["kind"] == "ExternalSecret"}

    def known_settings(self):
        """An earlier program has an earlier chart; what it does not know it refuses."""
        said = subprocess.run([str(self.binary), "help", "settings"], capture_output=True,
                              text=True, check=True).stdout
        return set(re.findall(r"(?m)^([A-Z][A-Z0-9_]+)$", said))

    def environment(self, container):
        found = {}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                found |= self.config_maps[source["configMapRef"]["name"]]
            else:
                found |= self.secrets[source["secretRef"]["name"]]
        for entry in container["env"]:
            if "value" in entry:
                found[entry["name"]] = entry["value"].replace("$(POD_NAME)", "rehearsed")
        return found

    def lua_files(self, spec):
        volume = next(v for v in spec["volumes"] if v["name"] == "lua")
        return {item["path"]: self.config_maps[source["configMap"]["name"]][item["key"]]
                for source in volume["projected"]["sources"]
                for item in source["configMap"]["items"]}

    def pod(self, component):
        pod = Pod(self, component)
        self.cluster.roles.append(pod)
        pod.start()
        self.pods.append(pod)
        return pod

    def of(self, component):
        return [p for p in self.pods if p.component == component and p.told_at is None]

    def _endpoints(self):
        """The endpoint controller: ready pods, and for a while those that go."""
        while not self.over.wait(0.2):
            for component, service in self.services.items():
                service.endpoints = [
                    p.first for p in list(self.pods) if p.component == component
                    and (p.is_ready() if p.told_at is None
                         else time.monotonic() - p.told_at < ENDPOINT_LAG)]

    def settle(self):
        """Until the Services know every pod."""
        until = time.monotonic() + 30
        while any(len(service.endpoints) != len(self.of(component))
                  for component, service in self.services.items()):
            assert time.monotonic() < until, "the Services do not know the pods"
            time.sleep(0.1)

    def replace(self, pod):
        """One step of a rolling update: a new pod first, then the old one goes."""
        fresh = self.pod(pod.component)
        if pod.component in self.services:
            until = time.monotonic() + 30
            while fresh.first not in self.services[pod.component].endpoints:
                assert time.monotonic() < until
                time.sleep(0.1)
        pod.delete()
        return fresh

    def edit(self, change):
        """kubectl apply of the ConfigMaps, and every kubelet's sync after it:
        `change` maps a path and its text to the new text. Returns when it was."""
        for pod in self.pods:
            if pod.told_at is None:
                spec = self.deployments[pod.component]["spec"]["template"]["spec"]
                pod.lua.write({path: change(path, text)
                               for path, text in self.lua_files(spec).items()})
        return time.time()

    # ---- the shims of kubectl: tests/scripts/shims ----

    def kubectl(self, folder, components):
        """The environment in which scripts meet this release through a kubectl
        that knows these components; `folder` is for its files."""
        objects = [{"kind": "Namespace", "metadata": {"name": "xin-staging"}}]
        objects += [o for o in self.objects if o["kind"] in ("Deployment", "Service")
                    and o["metadata"]["labels"]["app.kubernetes.io/component"] in components]
        objects += [{"kind": "Secret", "metadata": {"name": name, "namespace": "xin-staging"},
                     "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}
                    for name, data in self.secrets.items()]
        (folder / "cluster.json").write_text(json.dumps(objects))
        lines = []
        for o in objects:
            if o["kind"] == "Service":
                component = o["metadata"]["labels"]["app.kubernetes.io/component"]
                host, port = (("127.0.0.1", self.services[component].port)
                              if component in self.services else self.of(component)[0].first)
                lines.append('connect-to = "%s:%d:%s:%d"\n' % (
                    o["metadata"]["name"], o["spec"]["ports"][0]["port"], host, port))
        (folder / "curlrc").write_text("".join(lines))
        shims = ROOT / "tests" / "scripts" / "shims"
        return {"PATH": f"{shims}:{os.environ['PATH']}", "SHIM_STATE": str(folder),
                "SHIM_CLUSTER": str(folder / "cluster.json"), "SHIM_CALLS": str(folder / "calls"),
                "SHIM_CURLRC": str(folder / "curlrc")}

    def close(self):
        self.over.set()
        for service in self.services.values():
            service.close()
        self.cluster.close()
