# SPDX-License-Identifier: Apache-2.0
"""The chart as the real helm renders it. helm, kubeconform and helm-unittest are
built on first use; what cannot be had skips its tests by name."""

import functools
import pathlib
import re
import subprocess
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "xin-platform"
FILES = sorted(CHART.glob("values*.yaml")) + sorted(CHART.glob("ci/*-values.yaml"))
COMPONENTS = ("channel-gateway", "ingestion-worker", "orchestrator")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def fetched(script, *words):
    """What a script of tests/support prints, or None: it cannot be had here."""
    done = subprocess.run(
        [str(ROOT / "tests" / "support" / script), *words],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    if done.returncode == 77:
        return None
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def tool(name):
    path = fetched("chart_tool_get", name)
    if path is None:
        raise unittest.SkipTest(f"{name} cannot be had here (it needs Go and its modules)")
    return path


def schemas():
    folder = fetched("chart_schemas_get")
    if folder is None:
        raise unittest.SkipTest("the schemas of Kubernetes and the operators cannot be had here")
    return folder


def helm(*words):
    """Exit status, stdout, stderr."""
    done = subprocess.run(
        [tool("helm"), *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def rendered(*words, release="xin-platform", namespace="xin-staging", chart=CHART):
    return helm("template", release, chart, "--namespace", namespace, *words)


@functools.cache
def text(*words, **where):
    code, out, err = rendered(*words, **where)
    assert code == 0, err
    return out


def objects(*words, **where):
    """All objects of a rendering; a path among the words is a values file."""
    return [o for o in yaml.load_all(text(*arguments(words), **where), LOADER) if o]


def arguments(words):
    """Paths become --values, dictionaries --set-json, other words stay."""
    out = []
    for word in words:
        out += ["--values", str(word)] if isinstance(word, pathlib.Path) else [word]
    return out


def refusal(*words):
    """Why helm refuses; fails when it does not."""
    code, _, err = rendered(*arguments(words))
    assert code != 0, f"helm rendered {words}"
    return err


def of_kind(found, kind):
    """Name -> object."""
    return {o["metadata"]["name"]: o for o in found if o["kind"] == kind}


def pods(found):
    """Name -> pod template (or pod) of everything that runs."""
    out = {}
    for o in found:
        if o["kind"] in ("Deployment", "Job"):
            out[f"{o['kind']}/{o['metadata']['name']}"] = o["spec"]["template"]
        elif o["kind"] == "Pod":
            out[f"Pod/{o['metadata']['name']}"] = o
    return out


def component(o):
    return o["metadata"]["labels"]["app.kubernetes.io/component"]


def selected(selector, labels):
    return all(labels.get(name) == value for name, value in selector.items())


def environment(template, found):
    """The pod's environment as far as ConfigMaps and the pod tell it."""
    container = template["spec"]["containers"][0]
    maps = of_kind(found, "ConfigMap")
    out = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            out |= maps[source["configMapRef"]["name"]]["data"]
    return out | {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}


def secret_refs(template):
    return [
        s["secretRef"]["name"]
        for s in template["spec"]["containers"][0].get("envFrom", [])
        if "secretRef" in s
    ]


def settings_table():
    """Rows of config.def: name -> (kind, default)."""
    rows = re.findall(
        r'^CONFIG\(\w+,\s*CONFIG_(\w+),\s*"(\w+)",\s*"([^"]*)"',
        (ROOT / "src/base/config.def").read_text(),
        re.M,
    )
    return {name: (kind, default) for kind, name, default in rows}


def yaml_blocks(path):
    """The YAML examples of a Markdown page."""
    return [
        yaml.load(block, LOADER)
        for block in re.findall(r"^ *```yaml\n(.*?)^ *```", path.read_text(), re.S | re.M)
    ]


def main():
    """A suite's last line: 77 when helm cannot be had."""
    if fetched("chart_tool_get", "helm") is None:
        print("helm cannot be had here: skipped")
        raise SystemExit(77)
    unittest.main(verbosity=2)
