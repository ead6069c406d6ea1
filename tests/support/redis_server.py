# SPDX-License-Identifier: Apache-2.0
"""A real redis-server for a test: a free port, nothing saved, dead with the test.
And the virtual environment with Python's arq, fetched once into the build folder."""
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class RedisServer:
    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="xin-redis-")
        self.process = None
        self.start()

    @staticmethod
    def have():
        return shutil.which("redis-server") is not None

    @property
    def settings(self):
        return {"INGEST_REDIS_HOST": "127.0.0.1", "INGEST_REDIS_PORT": str(self.port)}

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no"],
            cwd=self.folder, stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def python_with_arq(build):
    """Run this script again under a Python that has arq; exit 77 when none can be had."""
    try:
        import arq  # noqa: F401
        return
    except ImportError:
        pass
    venv = ROOT / build / "venv"
    python = venv / "bin" / "python"
    ready = subprocess.run([python, "-c", "import arq"], capture_output=True, check=False) \
        if python.exists() else None
    if ready is None or ready.returncode != 0:
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False)
        got = made.returncode == 0 and subprocess.run(
            [python, "-m", "pip", "-q", "install", "arq"], check=False).returncode == 0
        if not got:
            print("Python's arq cannot be had here: skipped")
            sys.exit(77)
    os.execv(python, [str(python), *sys.argv])
