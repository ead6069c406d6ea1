# SPDX-License-Identifier: Apache-2.0
"""The cluster of the Python suites: PostgreSQL, Redis, an S3 server that checks
signatures, the vector server's double, and the roles of the real binary on them.
Missing names what cannot be had here."""
import ctypes
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import postgres_server
from postgres_server import Missing, free_port
from xin_process import OPENER, ROOT, BINARY, Xin

HERE = pathlib.Path(__file__).resolve().parent
ADMIN = "xin_" + "a" * 43
SECRET = "cluster-secret"


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Child:
    """A server on one port that can be killed, stopped and started again."""

    def __init__(self, name, argv, port, folder):
        self.name, self.argv, self.port, self.folder = name, argv, port, folder
        self.process = None
        self.start()

    def start(self):
        if self.process:
            return
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, preexec_fn=die_with_parent)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(
                        f"{self.name} did not start: "
                        + (self.folder / f"{self.name}.log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def _end(self, with_signal):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(with_signal)
            self.process.wait()
            self.process = None

    def kill(self):
        self._end(signal.SIGKILL)

    def stop(self):
        self._end(signal.SIGTERM)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Cluster:
    def __init__(self, binary=BINARY, **settings):
        """`binary` makes the schema; None: nobody does."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="xin-cluster-"))
        self.roles, self.children = [], []
        self.postgres = None
        try:
            self._start_back_ends()
        except BaseException:
            self.close()
            raise
        self.settings = {
            "XIN_STORE_URL": self.postgres.tcp_url,
            "INGEST_REDIS_HOST": "127.0.0.1",
            "INGEST_REDIS_PORT": str(self.redis.port),
            "INGEST_REDIS_PASSWORD": "redis-secret",
            "STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{self.s3.port}",
            "STORAGE_ACCESS_KEY": "cluster-key",
            "STORAGE_SECRET_KEY": "cluster-storage-secret",
            "STORAGE_REGION": "eu-test-1",
            "STORAGE_BUCKET": "xin-cluster",
            "XIN_SEARCH_URL": f"http://127.0.0.1:{self.qdrant.port}",
            "QDRANT_API_KEY": "vector-secret",
            "XIN_ADMIN_KEY": ADMIN,
            "XIN_SERVICE_KEY": ADMIN,
            "XIN_AUTH": "keys",
            "GATEWAY_WEBHOOK_SECRET": SECRET,
            "XIN_SCRIPT_POLL_MS": "200",
        } | settings
        if binary:
            self.command("migrate", binary=binary)

    def _start_back_ends(self):
        redis = shutil.which("redis-server")
        if not redis:
            raise Missing("no Redis server here: install the package redis-server")
        postgres_server.binary("postgres")  # said before the S3 server is built
        found = subprocess.run([str(HERE / "s3_server_get")], capture_output=True, text=True,
                               check=False)
        if found.returncode != 0:
            raise Missing("no S3 server here: it is built with Go")
        self.postgres = postgres_server.Server()
        self.redis = self._child("redis", lambda port: [
            redis, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "redis-secret",
            "--save", "", "--appendonly", "yes", "--dir", str(self.folder)])
        for name in ("objects", "sidecar"):
            (self.folder / name).mkdir()
        self.s3 = self._child("s3", lambda port: [
            found.stdout.strip(), "--port", f"127.0.0.1:{port}", "--access", "cluster-key",
            "--secret", "cluster-storage-secret", "--region", "eu-test-1", "--keep-alive",
            "--quiet", "posix", "--sidecar", str(self.folder / "sidecar"),
            str(self.folder / "objects")])
        self.qdrant = self._child("qdrant", lambda port: [
            sys.executable, str(HERE / "qdrant_double.py"), "--port", str(port),
            "--api-key", "vector-secret"])

    def _child(self, name, argv):
        port = free_port()
        child = Child(name, argv(port), port, self.folder)
        self.children.append(child)
        return child

    def command(self, *words, check=True, binary=BINARY, **settings):
        """One command of the program with the cluster's settings."""
        environment = {"PATH": os.environ["PATH"], "XIN_DATA_DIR": str(self.folder / "cli"),
                       "XIN_LUA_DIR": str(ROOT / "lua")} | self.settings | settings
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        done = subprocess.run([str(binary), *words], env=environment, cwd=self.folder, text=True,
                              capture_output=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"xin {' '.join(words)}: {done.stdout}{done.stderr}")
        return done

    def role(self, command, **settings):
        role = Role(command, **(self.settings | settings))
        self.roles.append(role)
        return role.start()

    def double(self, path, body=None):
        """The control of the vector server's double."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.qdrant.port}/_double/{path}", data,
            {"Content-Type": "application/json"}, method="POST" if body is not None else "GET")
        with OPENER.open(request, timeout=10) as response:
            return response.read()

    def close(self):
        problems = []
        for role in self.roles:
            try:
                role.stop()
            except AssertionError as error:
                problems.append(str(error))
        for child in self.children:
            child.kill()
        if self.postgres:
            self.postgres.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if problems:
            raise AssertionError("\n".join(problems))


class Role(Xin):
    """One process of the cluster, asked with the administrator's key."""

    def ask(self, method, path, body=None, headers=None, timeout=30):
        return super().ask(method, path, body,
                           {"Authorization": "Bearer " + ADMIN} | (headers or {}), timeout)

    def turn(self, brand, message, **more):
        body = {"message": message, "user": {"id": "tester"}} | more
        return self.ask("POST", f"/v1/brands/{brand}/turns", body)

    def webhook(self, body, secret=SECRET, timeout=30):
        raw = json.dumps(body).encode()
        signed = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
        return Xin.ask(self, "POST", "/webchat/webhook", raw,
                       {"Content-Type": "application/json", "X-Signature": signed}, timeout)

    def ready(self, brand, name, text, seconds=60):
        """Upload and wait until it can be asked about."""
        status, source = self.upload(brand, name, text)
        assert status in (200, 201, 202), (status, source)
        return self.until_ready(brand, source["id"], seconds)

    def until_ready(self, brand, source_id, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status, source = self.ask("GET", f"/v1/brands/{brand}/knowledge/{source_id}")
            if status == 200 and source["status"] in ("ready", "failed"):
                assert source["status"] == "ready", source
                return source
            time.sleep(0.1)
        raise AssertionError(f"not ready in {seconds} s: {source}")

    def script(self, path, text):
        target = self.home / "lua" / path
        new = target.with_suffix(".new")
        new.write_text(text)
        new.rename(target)
