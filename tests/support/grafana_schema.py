# SPDX-License-Identifier: Apache-2.0
"""Dashboards against Grafana's own schema: the classes that Grafana generates
from it (grafana-foundation-sdk, Apache-2.0), in a venv under build-tools.
faults([files]) gives sentences, or None where the package cannot be had. The
classes read leniently, so two things are asked here: whatever stands in the
file must come back when it is written again (a key that the schema does not
know gets lost), and every value must be of its annotated type."""
import enum
import json
import pathlib
import subprocess
import sys
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "grafana-foundation-sdk==1769699998!10.1.0"


def faults(files):
    venv = ROOT / "build-tools" / "grafana-venv"
    python = str(venv / "bin" / "python")
    if not (venv / "ready").exists():
        for argv in ([sys.executable, "-m", "venv", str(venv)],
                     [python, "-m", "pip", "install", "-q", PACKAGE]):
            if subprocess.run(argv, capture_output=True, timeout=280, check=False).returncode != 0:
                return None
        (venv / "ready").touch()
    done = subprocess.run([python, __file__, *map(str, files)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def lost(given, back, path):
    """What of the file does not come back."""
    if isinstance(given, dict) and isinstance(back, dict):
        for key, value in given.items():
            if key not in back:
                yield f"{path}.{key}: the schema does not know it"
            else:
                yield from lost(value, back[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        for i, (a, b) in enumerate(zip(given, back)):
            yield from lost(a, b, f"{path}[{i}]")
    elif given != back:
        yield f"{path}: {given!r} is read as {back!r}"


def is_plain(value, hint):
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [e.value for e in hint] or isinstance(value, hint)
    return isinstance(value, hint)


def wrong(value, hint, path):
    """What is not of its type. Some lists are kept as the file has them: their
    members are read here."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (object, typing.Any):
        hint = type(value)  # of a plug-in: a class of its own, or anything
    if origin is typing.Union:
        each = [list(wrong(value, h, path)) for h in inner]
        if all(each):
            yield from min(each, key=len)
    elif origin is typing.Literal:
        if value not in inner:
            yield f"{path}: {value!r} is none of {inner}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for i, member in enumerate(value):
            yield from wrong(member, inner[0], f"{path}[{i}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no object"
    elif hasattr(hint, "from_json") and isinstance(value, dict):
        yield from wrong(hint.from_json(value), hint, path)
    elif not is_plain(value, hint):
        yield f"{path}: {value!r} is not {getattr(hint, '__name__', hint)}"
    elif hasattr(type(value), "from_json"):
        for name, kind in typing.get_type_hints(type(value)).items():
            yield from wrong(getattr(value, name), kind, f"{path}.{name}")


def main():
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard
    register_default_plugins()
    for file in sys.argv[1:]:
        given = json.loads(pathlib.Path(file).read_text())
        name = pathlib.Path(file).name
        try:
            board = Dashboard.from_json(given)
        except Exception as error:  # of the classes, by a wrong shape
            print(f"{name}: cannot be read: {error!r}")
            continue
        for fault in (*lost(given, json.loads(JSONEncoder().encode(board)), name),
                      *wrong(board, Dashboard, name)):
            print(fault)


if __name__ == "__main__":
    main()
