"""
``dflag policy``: print an admission policy that refuses bad values.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from dflag._flags import pipeline_of
from dflag._kinds.cel import matches, quote
from dflag._layers import RULES_KEYS
from dflag._registry import store_of_registry
from dflag.cli._cel import demands_of, stripped
from dflag.cli._embedded import SUFFIXES
from dflag.cli._errors import CommandError
from dflag.cli._findings import IGNORED
from dflag.cli._names import namespace_name, object_name
from dflag.cli._registry import load
from dflag.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry

_TEMPLATE: Final = """\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {policy}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE, UPDATE]
        resources: [configmaps]
        resourceNames: [{name}]
        scope: Namespaced
  variables:
    - name: data
      expression: "has(object.data) ? object.data : {{}}"
    - name: binaryData
      expression: "has(object.binaryData) ? object.binaryData : {{}}"
  validations:
{validations}\
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {policy}
spec:
  policyName: {policy}
  validationActions: [Deny]
"""

_SELECTOR: Final = """\
  matchResources:
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {namespace}
"""


class _Validation(NamedTuple):
    expression: str
    message: str


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the policy, and on standard error what it cannot check.
    """
    registry = load(options.registry)
    for key in options.require:
        registry.lookup(key)
    namespace = None if options.namespace is None else namespace_name(options.namespace)
    name = _name(registry, options)
    validations = [*_required(options.require), *_unknown(registry), *_values(registry)]
    if not validations:
        raise CommandError("no flag has a limit that an admission policy can check")
    policy = object_name("-".join(filter(None, ("dflag", namespace, name))))
    out.write(_TEMPLATE.format(policy=json.dumps(policy), name=json.dumps(name), validations=_listed(validations)))
    if namespace:
        out.write(_SELECTOR.format(namespace=json.dumps(namespace)))
    for line in _left(registry):
        print(f"dflag: not in the policy: {one_line(line)}", file=sys.stderr)
    return 0


def _name(registry: FlagRegistry, options: argparse.Namespace) -> str:
    """
    Return the name of the ConfigMaps. The name of a registry or package gets lower case, and dashes for underscores.
    """
    if options.name is not None:
        return object_name(options.name)
    given = registry.name or options.registry.partition(":")[0].partition(".")[0]
    return object_name(given.lower().replace("_", "-"))


def _listed(validations: list[_Validation]) -> str:
    # A JSON string is a YAML string, and in ASCII nothing is invisible. A printable expression needs no quotes.
    return "".join(
        f"    - expression: >-\n        {each.expression}\n      message: {json.dumps(each.message)}\n"
        if each.expression.isprintable()
        else f"    - expression: {json.dumps(each.expression)}\n      message: {json.dumps(each.message)}\n"
        for each in validations
    )


def _required(keys: list[str]) -> Iterator[_Validation]:
    for key in dict.fromkeys(keys):
        quoted = quote(key)
        yield _Validation(
            f"{quoted} in variables.data || {quoted} in variables.binaryData", f"expected a value for flag {key!r}"
        )


def _unknown(registry: FlagRegistry) -> Iterator[_Validation]:
    store = store_of_registry(registry)
    maps = [_keys_pattern(kind.keys) for kind in store.maps.values()]
    if None in maps:
        return
    flags = [flag.name for flag in registry]
    names = ", ".join(map(quote, (*flags, *sorted(store.retired), *sorted(IGNORED), *RULES_KEYS)))
    known = [f"k in [{names}]", "k.startsWith('.')", *(f"k.endsWith({quote(suffix)})" for suffix in SUFFIXES)]
    known += [f"k.{matches(each)[2:]}" for each in maps if each]
    for field in ("data", "binaryData"):
        condition = f"variables.{field}.all(k, {' || '.join(known)})"
        yield _Validation(condition, f"expected the names of flags as keys of {field}")


def _keys_pattern(keys: str) -> str | None:
    """
    Return the pattern of a map's keys as a regular expression; None if it has a set of characters.
    """
    if "[" in keys:
        return None
    wild = {"*": ".*", "?": "."}
    return "^" + "".join(wild.get(char) or re.escape(char) for char in keys) + "$"


def _values(registry: FlagRegistry) -> Iterator[_Validation]:
    for flag in registry:
        conditions = [] if flag.secret else demands_of(flag).conditions
        if conditions:
            key = quote(flag.name)
            text = stripped(f"variables.data[{key}]", strip=pipeline_of(flag).strip)
            yield _Validation(
                f"!({key} in variables.data) || {text}.all(t, {_all(conditions)})",
                _message(flag),
            )


def _all(conditions: list[str]) -> str:
    return conditions[0] if len(conditions) == 1 else " && ".join(f"({each})" for each in conditions)


def _message(flag: Flag[Any]) -> str:
    pipeline = pipeline_of(flag)
    limits = pipeline.range_text() or (pipeline.choices_text() and f"out of {pipeline.choices_text()}")
    return one_line(f"flag {flag.name!r}: expected {' '.join(filter(None, (pipeline.kind.expected, limits)))}")


def _left(registry: FlagRegistry) -> Iterator[str]:
    yield "values in binaryData, and numbers of more than 1000 characters"
    yield f"documents of flags, in keys that end with {', '.join(SUFFIXES)}"
    yield f"rules, in the key {RULES_KEYS[0]}"
    if store_of_registry(registry).checks.validators:
        yield "the checks across flags"
    if any(_keys_pattern(kind.keys) is None for kind in store_of_registry(registry).maps.values()):
        yield "unknown keys, for a map has a set of characters in the pattern of its keys"
    for flag in registry:
        reasons = ["a secret, whose values stand in a Secret"] if flag.secret else demands_of(flag).left
        for reason in reasons:
            yield f"flag {flag.name!r}: {reason}"
