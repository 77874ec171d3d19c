"""
The arguments of each command, in a module of their own, so that help imports nothing that only the commands need.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

COMMANDS: Final = {
    "check": "check the values of inputs against the flags of a program",
    "completion": "print a completion script for a shell",
    "docs": "print a reference of all flags in Markdown",
    "expired": "list the flags that are past their date",
    "manifest": "print a ConfigMap or Secret with all flags at their defaults",
    "plan": "show what an input would change",
    "policy": "print an admission policy that refuses bad values",
    "references": "list where flags are declared and read",
    "schema": "print a JSON Schema of the flags",
    "unused": "list the flags that can be removed",
    "watch": "follow a volume and print each change",
    "write": "publish values as the kubelet does",
}
"""The commands, each with what it does. The name of a command is that of its module in this package."""


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of a command, and the end of its help.
    """
    _ADDERS[command](parser)
    parser.epilog = _EPILOGS[command]


def _registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("registry", metavar="REGISTRY", help="package.module:attribute")


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="KEY", action="append", default=[], help="a key that holds a document of flags"
    )


def _check(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="a manifest, a directory, a document, or - for standard input"
    )
    _format(parser)
    parser.add_argument(
        "--strict", action="store_true", help="report unknown names, and inputs without values, as errors"
    )
    parser.add_argument(
        "--replicas",
        metavar="N",
        type=_number_of("processes", least=1),
        help="warn about steps of rules that reach none of N processes",
    )
    _key(parser)


def _number_of(what: str, *, least: int) -> Callable[[str], int]:
    """
    Return a function that parses the number of an option.

    It raises `argparse.ArgumentTypeError`, because the message of argparse for a ValueError would name the function.
    """

    def read(text: str) -> int:
        import argparse  # loaded already, as argparse calls this function

        with contextlib.suppress(ValueError):
            if (number := int(text)) >= least:
                return number
        raise argparse.ArgumentTypeError(f"expected a number of {what} from {least}, got {text!r}")

    return read


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("text", "json", "github", "sarif"), default="text", help="how to print (default: text)"
    )


def _expired(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument(
        "--within",
        metavar="DAYS",
        type=_number_of("days", least=0),
        default=-1,  # only flags whose last day was yesterday or earlier
        help="also list flags that expire within this number of days, as warnings",
    )
    _format(parser)


def _references(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="[NAME] PATH",
        nargs="*",
        help="the name of one flag; files and directories of Python code (default: the current directory)",
    )
    _format(parser)


def _unused(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file or a directory of Python code")
    parser.add_argument(
        "--input",
        metavar="INPUT",
        action="append",
        default=[],
        help="values of an environment; may be given several times",
    )
    parser.add_argument("--registry", metavar="REGISTRY", help="compare the values of its flags instead of texts")
    _format(parser)
    parser.add_argument("--strict", action="store_true", help="report likely findings as errors too")
    _key(parser)


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "fish", "zsh"), help="bash, zsh or fish")


def _manifest(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument("--name", required=True, help="the name of the object")
    parser.add_argument("--namespace", metavar="NS", help="its namespace")
    parser.add_argument(
        "--kind", choices=("ConfigMap", "Secret"), default="ConfigMap", help="its kind (default: ConfigMap)"
    )
    parser.add_argument("--key", metavar="KEY", help="write all flags as one document, under this key")
    parser.add_argument("--rules", action="store_true", help="add an example of rules, in comments")


def _plan(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument("input", metavar="INPUT", help="the values to apply: a manifest, a directory, a document or -")
    parser.add_argument(
        "--against", metavar="INPUT|URL", help="the live values: an input, or the URL of the page of a running process"
    )
    _fact(parser)
    parser.add_argument("--at", metavar="TIME", help="the time for rules, as RFC 3339 (default: now)")
    parser.add_argument("--timeline", action="store_true", help="list the moments at which rules change anything")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")
    parser.add_argument(
        "--key",
        metavar="KEY|BY=KEY",
        action="append",
        default=[],
        help="a key that holds a document of flags; or a key of keyed flags, such as tenant=acme",
    )


def _fact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fact", metavar="FACT=TEXT", action="append", default=[], help="a fact of the process, for rules"
    )


def _policy(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument("--name", help="the name of the ConfigMaps (default: that of the registry or the package)")
    parser.add_argument("--namespace", metavar="NS", help="bind the policy to one namespace (default: to all)")
    parser.add_argument("--require", metavar="KEY", action="append", default=[], help="refuse a ConfigMap without KEY")


def _schema(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument(
        "--manifest", action="store_true", help="print the schema of a whole ConfigMap, whose values are texts"
    )
    parser.add_argument("--rules", action="store_true", help="print the schema of a file _rules.yaml")


def _watch(parser: argparse.ArgumentParser) -> None:
    _registry(parser)
    parser.add_argument("directory", metavar="DIR", help="the directory of the volume")
    _fact(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")


def _write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the directory of the volume")
    parser.add_argument("pairs", metavar="KEY=VALUE", nargs="*", help="a value to publish")
    parser.add_argument("--from", dest="input", metavar="INPUT", help="an input to publish; KEY=VALUE wins over it")
    parser.add_argument("--replace", action="store_true", help="drop the keys that are not given")
    parser.add_argument(
        "--remove", metavar="KEY", action="append", default=[], help="remove a published key; any number"
    )
    parser.add_argument("--registry", metavar="REGISTRY", help="publish nothing if its flags refuse a value")
    _key(parser)


_ADDERS: Final[dict[str, Callable[[argparse.ArgumentParser], None]]] = {
    "check": _check,
    "completion": _completion,
    "docs": _registry,
    "expired": _expired,
    "manifest": _manifest,
    "plan": _plan,
    "policy": _policy,
    "references": _references,
    "schema": _schema,
    "unused": _unused,
    "watch": _watch,
    "write": _write,
}

_EPILOGS: Final = {
    "check": """\
example: kustomize build overlays/prod | dflag check app:flags - --strict

Each INPUT is checked by itself, together with the defaults. The objects in one INPUT are checked together; later ones
win.
""",
    "completion": """\
example: dflag completion bash > ~/.local/share/bash-completion/completions/dflag
""",
    "docs": """\
example: dflag docs app:flags > FLAGS.md
""",
    "expired": """\
example: dflag expired app:flags --within 14

A flag is expired from the day after its date. The list is sorted by owner, then by date.
""",
    "manifest": """\
example: dflag manifest app:flags --name app | kubectl apply -f -

A ConfigMap holds the flags that are not secret, a Secret those that are, with the defaults of the code.
""",
    "plan": """\
example: dflag plan app:flags new.yaml --against http://localhost:8080/flags

Without --against the input is compared with the defaults. A refused value leaves the previous one, and a removed key
falls back to the default.
""",
    "policy": """\
example: dflag policy app:flags --name app-flags --namespace prod | kubectl apply -f -

Prints a ValidatingAdmissionPolicy and its binding, for the ConfigMaps of one name. What Kubernetes cannot check is
listed on standard error: run `dflag check` too.
""",
    "references": """\
example: dflag references rate_limit src

The first word is the name of a flag, unless there is a file or directory of that name. The program is not imported.
The status is 1 when nothing refers to the name.
""",
    "schema": """\
example: dflag schema app:flags > app.schema.json

An editor then completes a document that begins with: # yaml-language-server: $schema=app.schema.json
""",
    "unused": """\
example: dflag unused src tests --input prod.yaml --input staging.yaml

Lists flags that are never read, read only in tests, read and never declared, the same in every INPUT, or expired, and
keys of an INPUT that have no declaration. Only certain findings are errors, unless --strict. The program is not
imported, except the module of REGISTRY. The comment  # dflag: keep  on a line of a declaration excludes the flag.
""",
    "watch": """\
example: dflag watch app:flags /etc/dflag

Prints each change until SIGINT or SIGTERM. The program's own callbacks are not run. Rules are followed as in a process
with the given facts; those that need others are named on standard error.
""",
    "write": """\
example: dflag write /tmp/config rate_limit=60 loglevel=debug --registry app:flags

For programs that run without a cluster: makes DIR, and publishes with one rename. Existing keys stay.
""",
}
