"""
The manifests of the examples are complete: what they name exists, their ports agree, and their values pass.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from tests.kubernetes._manifests import (
    EXAMPLES,
    KUBECTL,
    KUBERNETES,
    MONITORING_KINDS,
    RECIPES,
    TIMEOUT_SECONDS,
    Manifest,
    one,
    pod_template,
    render,
    render_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = "1.37"
"""The version of Kubernetes against whose schemas the manifests are validated."""

CHECK = """
import contextlib, importlib, io, json, sys

from dflag.cli import main

for registry, manifest in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = main(["check", "--strict", registry, manifest])
    module, _, attribute = registry.partition(":")
    declared = getattr(importlib.import_module(module), attribute)
    flags = getattr(declared, "registry", declared)
    print(json.dumps([status, said.getvalue(), {flag.name: str(flag.default) for flag in flags}]))
"""
"""Checks values, and lists the flags that they are for, with their defaults."""


class Checked(NamedTuple):
    """
    The result of checking a recipe: status and output of the command, and the flags with their defaults as text.
    """

    status: int
    said: str
    flags: dict[str, str]


pytestmark = pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl, which has kustomize")


def _registry(recipe: str) -> str:
    """Return the registry named in the `dflag check` command in the first line of the ConfigMap."""
    first = (KUBERNETES / recipe / "configmap.yaml").read_text(encoding="utf-8").partition("\n")[0]
    (found,) = re.findall(r"before each change: dflag check (\S+) configmap\.yaml$", first)
    return str(found)


@pytest.fixture(name="rendered", scope="module")
def _rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """Return the objects of each recipe."""
    return render_all(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(name="checked", scope="module")
def _checked(rendered: dict[str, list[Manifest]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checked]:
    """Return the result of `dflag check` for each recipe, with the registry in the first line of its ConfigMap."""
    directory = tmp_path_factory.mktemp("checked")
    pairs = []
    for recipe, objects in rendered.items():
        path = directory / f"{recipe}.yaml"
        path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        pairs.append((_registry(recipe), str(path)))
    done = subprocess.run(
        [sys.executable, "-c", CHECK, json.dumps(pairs)],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    found = [Checked(*json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(rendered, found, strict=True))


@pytest.fixture(name="flags", scope="module")
def _flags(checked: dict[str, Checked]) -> dict[str, dict[str, str]]:
    """Return the flags of each recipe, with their defaults as text."""
    return {recipe: found.flags for recipe, found in checked.items()}


@pytest.fixture(name="objects", params=RECIPES)
def _objects(request: pytest.FixtureRequest, rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    """Return the objects of one recipe."""
    return rendered[request.param]


def _container(objects: list[Manifest]) -> Manifest:
    (container,) = pod_template(objects)["spec"]["containers"]
    found: Manifest = container
    return found


def _words(objects: list[Manifest]) -> list[str]:
    container = _container(objects)
    return [*container["command"], *container.get("args", ())]


def _ports(objects: list[Manifest]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in _container(objects).get("ports", ())}


def test_manifests_fit_the_schemas(rendered: dict[str, list[Manifest]]) -> None:
    """Each object of the recipes passes strict validation against the schemas of Kubernetes."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    # Most objects differ only in their names; one of each kind is enough.
    texts = {json.dumps(each).replace(f"{recipe}-", "a-"): each for recipe in rendered for each in rendered[recipe]}
    different = {re.sub(r'"app": "[\w-]+"', "", text): each for text, each in texts.items()}
    assert len(different) > 2 * len(RECIPES)
    for each in different.values():
        kubernetes_validate.validate(each, SCHEMAS, strict=True)


def _closed(schema: Any) -> Any:
    """Return a schema that refuses unknown properties, as strict validation at the API server does."""
    if isinstance(schema, dict):
        closed = {name: _closed(below) for name, below in schema.items()}
        return {"additionalProperties": False, **closed} if "properties" in schema else closed
    return schema


def test_monitoring_fits_its_schemas() -> None:
    """The objects for the Prometheus operator pass strict validation against the definitions of their kinds."""
    from jsonschema import Draft202012Validator

    known = {}
    for kind in yaml.safe_load_all(MONITORING_KINDS.read_text(encoding="utf-8")):
        schema = _closed(kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        schema["properties"] |= dict.fromkeys(("apiVersion", "kind", "metadata"), True)
        known[kind["spec"]["names"]["kind"]] = schema
    objects = render("monitoring")
    assert {each["kind"] for each in objects} == set(known)
    for each in objects:
        Draft202012Validator(known[each["kind"]]).validate(each)


def test_values_pass(checked: dict[str, Checked]) -> None:
    """`dflag check --strict` finds nothing in the values of any recipe."""
    assert {recipe: found[:2] for recipe, found in checked.items()} == dict.fromkeys(RECIPES, (0, ""))


def test_pods_are_restricted(objects: list[Manifest]) -> None:
    """Pods meet the Pod Security Standard `restricted`, with a read-only root file system and no limit of the CPU."""
    pod = pod_template(objects)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC", "initContainers"})
    assert _container(objects)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim"}
    assert all("hostPort" not in port for port in _container(objects).get("ports", ()))
    resources = _container(objects)["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert resources["limits"].keys() == {"memory"}, "a limit of the processor slows a program for nothing"


def test_pods_know_themselves(objects: list[Manifest]) -> None:
    """Each pod has the variables and the labels that `dflag.facts.kubernetes` reads."""
    given = {each["name"]: each.get("valueFrom") for each in _container(objects)["env"]}
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "NODE_NAME": "spec.nodeName"}
    assert {name: given[name] for name in fields} == {
        name: {"fieldRef": {"fieldPath": path}} for name, path in fields.items()
    }
    assert _mounts(objects)["/etc/podinfo"] == {
        "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    }


def _mounts(objects: list[Manifest]) -> dict[str, Manifest]:
    """Return the volumes by their mount paths."""
    volumes = {each["name"]: each for each in pod_template(objects)["spec"]["volumes"]}
    mounts = _container(objects)["volumeMounts"]
    assert all("subPath" not in mount for mount in mounts)
    assert {mount["name"] for mount in mounts} == set(volumes)
    return {
        mount["mountPath"]: {kind: volume for kind, volume in volumes[mount["name"]].items() if kind != "name"}
        for mount in mounts
    }


def test_program_follows_what_is_mounted(objects: list[Manifest]) -> None:
    """The program follows the ConfigMap of its recipe: the mounted directory, a key in it, or the object by name."""
    config_map = one(objects, "ConfigMap")
    name = config_map["metadata"]["name"]
    given = " ".join([*_words(objects), *(each.get("value", "") for each in _container(objects)["env"])]) + " "
    if f"--configmap={name} " in given:
        assert "/etc/flags" not in _mounts(objects)
        rules = [rule for each in objects if each["kind"] == "Role" for rule in each["rules"]]
        (reading,) = (rule for rule in rules if rule["verbs"] == ["list", "watch"])
        assert reading["resourceNames"] == [name]
        assert pod_template(objects)["spec"]["automountServiceAccountToken"] is True
        return
    assert _mounts(objects)["/etc/flags"] == {"configMap": {"name": name}}
    (path,) = re.findall(r"/etc/flags(/?\S*) ", given)
    assert path == "" or path[1:] in config_map["data"]


def test_command_is_there(objects: list[Manifest]) -> None:
    """The script, the module or the attribute that a manifest starts exists among the examples."""
    words = " ".join(_words(objects))
    found = re.match(r"python (?:-m )?(\S+)|\w+ (?:.* )?(?:--config=|--app=|--factory )?(\w+[./]\w+\S*)", words)
    assert found, words
    named = found[1] or found[2]
    module, _, attribute = named.partition(":")
    path = EXAMPLES / (module if "/" in module or module.endswith(".py") else module.replace(".", "/"))
    places = [path, path.with_name(f"{path.name}.py"), path / "__main__.py"]
    (place,) = (place for place in places if place.is_file())
    if attribute:
        assert re.search(rf"^(def )?{attribute}\b", place.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES)
def test_arguments_are_flags(
    recipe: str, rendered: dict[str, list[Manifest]], flags: dict[str, dict[str, str]]
) -> None:
    """Each argument of a program is one of its flags, and each variable is read somewhere in the program."""
    objects = rendered[recipe]
    container = _container(objects)
    for argument in container.get("args", ()):
        name = argument.removeprefix("--").partition("=")[0]
        assert name.replace("-", "_") in flags[recipe]
    program = re.search(r"\b\w+_(?:shop|library|job)\b|\w+\.py", " ".join(_words(objects)))
    assert program
    place = EXAMPLES / program[0]
    code = "".join(path.read_text(encoding="utf-8") for path in (place.glob("*.py") if place.is_dir() else [place]))
    for name in (each["name"] for each in container["env"] if "fieldRef" not in each.get("valueFrom", {})):
        prefix, _, flag = name.partition("_")
        assert f'"{name}"' in code or (f'env_prefix="{prefix}"' in code and flag.lower() in flags[recipe]), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_ports_agree(recipe: str, rendered: dict[str, list[Manifest]], flags: dict[str, dict[str, str]]) -> None:
    """Probes, Service and network policy name the ports on which the program listens."""
    objects = rendered[recipe]
    container, ports = _container(objects), _ports(objects)
    given = " ".join([*_words(objects), *(each.get("value", "") for each in container["env"])])
    code = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*/gunicorn.conf.py"))
    for number in ports.values():
        assert re.search(rf"\b{number}\b", given if "gunicorn.conf" not in given else code)
    for kind in ("readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        assert probe.get("httpGet", {}).get("port", next(iter(ports), None)) in ports or not ports
        assert probe.get("grpc", {}).get("port", next(iter(ports.values()), None)) in ports.values() or not ports
    for service in (each for each in objects if each["kind"] == "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    for policy in (each for each in objects if each["kind"] == "NetworkPolicy"):
        open_ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert set(ports) <= open_ports
    page = {flags[recipe][name] for name in flags[recipe] if name == "page_port"}
    assert page.isdisjoint(map(str, ports.values())), "a page on a port of its own is for port-forward alone"


def test_selectors_select(objects: list[Manifest]) -> None:
    """Deployment, Service, network policy and budget select the pods by their label, and all objects have it."""
    labels = pod_template(objects)["metadata"]["labels"]
    for each in objects:
        spec = each.get("spec", {})
        match each["kind"]:
            case "Deployment" | "PodDisruptionBudget":
                selector = spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                selector = spec["podSelector"]["matchLabels"]
            case "Service":
                selector = spec["selector"]
            case _:
                continue
        assert selector == {"app": labels["app"]}
    assert {each["metadata"]["labels"]["app"] for each in objects} == {labels["app"]}


def test_deployments_have_what_belongs_to_them(objects: list[Manifest]) -> None:
    """A Deployment comes with an account without a token, a network policy, a budget, and roles with their bindings."""
    kinds = [each["kind"] for each in objects]
    if "CronJob" in kinds:
        assert kinds == ["ConfigMap", "CronJob"]
        return
    assert {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding", "ServiceAccount"} <= set(kinds)
    account = one(objects, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert pod_template(objects)["spec"]["serviceAccountName"] == account["metadata"]["name"]
    roles = {each["metadata"]["name"]: each["rules"] for each in objects if each["kind"] == "Role"}
    bindings = [each for each in objects if each["kind"] == "RoleBinding"]
    assert {each["roleRef"]["name"] for each in bindings} == set(roles)
    for binding in bindings:
        for subject in binding["subjects"]:
            assert subject["kind"] == "Group" or subject["name"] == account["metadata"]["name"]
    for rules in roles.values():
        named = [rule for rule in rules if rule["resources"] == ["configmaps"]]
        assert [rule["resourceNames"] for rule in named] == [[one(objects, "ConfigMap")["metadata"]["name"]]]


def test_scraped_pods_are_monitored(rendered: dict[str, list[Manifest]]) -> None:
    """The pod monitor selects exactly the pods that export metrics, at a port that they have, and names their job."""
    monitor = one(render("monitoring"), "PodMonitor")["spec"]
    (label,) = monitor["selector"]["matchLabels"].items()
    endpoints = {each["port"] for each in monitor["podMetricsEndpoints"]}
    scraped = set()
    for recipe, objects in rendered.items():
        labels = pod_template(objects)["metadata"]["labels"]
        if label in labels.items():
            scraped.add(recipe)
            assert len(endpoints & set(_ports(objects))) == 1
            assert monitor["jobLabel"] in labels
    assert scraped == {"celery", "django", "fastapi", "flask", "grpc", "probe", "server"}


def test_image_has_what_the_commands_need(rendered: dict[str, list[Manifest]]) -> None:
    """The Dockerfile installs each program that a manifest starts, and uses only extras that dflag has."""
    dockerfile = (KUBERNETES / "Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", dockerfile)
    pyproject = (EXAMPLES.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras.split(","))
    arguments = dockerfile.replace("\\\n", " ").partition("pip install")[2].split("\n")[0]
    installed = {"python", *re.findall(r"[\w-]+", arguments)}
    assert {_words(objects)[0] for objects in rendered.values()} <= installed


def test_image_copies_what_the_build_reads() -> None:
    """The Dockerfile copies each file that pyproject.toml makes the build read into the stage that builds."""
    stage = (KUBERNETES / "Dockerfile").read_text(encoding="utf-8").partition("\nRUN ")[0]
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", stage, re.MULTILINE) for name in line.split()}
    root = EXAMPLES.parent
    tables = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    hatch = json.dumps(tables["tool"]["hatch"])
    read = {"README.md", *tables["project"]["license-files"], *re.findall(r'"path": "([^"]+)"', hatch)}
    assert len(read) > 3
    for name in read:
        assert any(path == root / name or path in (root / name).parents for each in copied for path in root.glob(each))


def test_secrets_stand_in_no_manifest(objects: list[Manifest]) -> None:
    """A token or a key of a program comes from a Secret, never from a text in the manifest."""
    for each in _container(objects)["env"]:
        if each["name"].endswith(("_TOKEN", "_KEY")):
            (where,) = each["valueFrom"]
            assert where == "secretKeyRef", each["name"]


def test_token_may_be_absent(rendered: dict[str, list[Manifest]]) -> None:
    """The Secret with the token of the FastAPI shop is optional, so the shop starts without it."""
    (token,) = (each for each in _container(rendered["fastapi"])["env"] if each["name"] == "FLAGS_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {"name": "fastapi-secrets", "key": "token", "optional": True}


def test_local_image_is_not_pulled(rendered: dict[str, list[Manifest]]) -> None:
    """Each use of the example image has `imagePullPolicy: IfNotPresent`; otherwise the tag `latest` would be pulled."""
    found = re.findall(r'"image": "dflag-example:latest"(?:, "imagePullPolicy": "(\w+)")?', json.dumps(rendered))
    assert set(found) == {"IfNotPresent"}


@pytest.mark.parametrize("page", ["docs/tutorial.md", "examples/README.md"])
def test_commands_name_objects_that_are_applied(page: str, rendered: dict[str, list[Manifest]]) -> None:
    """Each object that a command on the page patches, follows or annotates exists in the manifests under that name."""
    text = (EXAMPLES.parent / page).read_text(encoding="utf-8")
    objects = [each for recipe in rendered.values() for each in recipe]
    found = {("ConfigMap", name) for name in re.findall(r"kubectl patch configmap (\S+)", text)}
    found |= {("Deployment", name) for name in re.findall(r"kubectl .* deployment/(\S+)", text)}
    assert found
    assert found <= {(each["kind"], each["metadata"]["name"]) for each in objects}
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] == "Deployment"]
    assert set(re.findall(r"kubectl annotate pods -l app=(\S+)", text)) <= {labels["app"] for labels in pods}


def _names_of_directories() -> Iterator[str]:
    yield from (path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml"))


def test_every_directory_is_in_the_readme() -> None:
    """The README names each directory, and each `apply -k` command names a directory that exists."""
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    assert {name for name in _names_of_directories() if f"`{name}/`" not in readme} == set()
    for path in [*KUBERNETES.rglob("*.yaml"), *EXAMPLES.rglob("*.md"), *(EXAMPLES.parent / "docs").glob("*.md")]:
        for named in re.findall(r"apply -k (?:examples/)?kubernetes/([\w-]+)", path.read_text(encoding="utf-8")):
            assert (KUBERNETES / named / "kustomization.yaml").is_file(), path
