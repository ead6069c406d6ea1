# SPDX-License-Identifier: Apache-2.0
"""A real S3 server for the Python suites: Versity's gateway over a folder."""
import ctypes
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY, SECRET, REGION = "xin-test-key", "xin-test-secret", "eu-test-1"


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class S3Server:
    """Raises LookupError when the server cannot be had here."""

    def __init__(self, bucket="xin-test"):
        found = subprocess.run([str(ROOT / "tests/support/s3_server_get")],
                               capture_output=True, text=True, check=False)
        if found.returncode != 0:
            raise LookupError("the S3 server for tests cannot be had (tests/support/s3_server_get)")
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="xin-s3-"))
        self.root, meta = self.home / "objects", self.home / "meta"
        self.root.mkdir()
        meta.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.command = [found.stdout.strip(), "--port", f"127.0.0.1:{self.port}", "--access", KEY,
                        "--secret", SECRET, "--region", REGION, "--keep-alive", "--quiet",
                        "posix", "--sidecar", str(meta), str(self.root)]
        self.settings = {
            "STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "STORAGE_ACCESS_KEY": KEY,
            "STORAGE_SECRET_KEY": SECRET,
            "STORAGE_REGION": REGION,
            "STORAGE_BUCKET": bucket,
        }
        self.process = None

    def start(self):
        """From the main thread: it dies with the thread that started it."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.01)
        raise AssertionError("the S3 server did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
