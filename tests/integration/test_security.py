"""
The promises of docs/security.md about values from a writer who is trusted less than the program.
"""

from __future__ import annotations

import ast
import datetime
import enum
import hashlib
import logging
import os
import pickle
import socket
import time
import traceback
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import Updater
from dflag._registry import sources_of
from dflag.sources import FileSource, _entries
from dflag.typing import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dflag.testing import ConfigMapVolume

pytestmark = [pytest.mark.once, pytest.mark.untraced]

MIB = 2**20
SECRET = "hunter2"  # noqa: S105 - not a real password
PACKAGE = Path(dflag.__file__).parent


class Mode(enum.Enum):
    """
    The type of an enum flag.
    """

    ON = 1


SECRETS: dict[str, Callable[[dflag.FlagRegistry], dflag.Flag[Any]]] = {
    "int": lambda flags: flags.dyn_int("x", 0, secret=True),
    "float": lambda flags: flags.dyn_float("x", 0.0, secret=True),
    "bool": lambda flags: flags.dyn_bool("x", default=False, secret=True),
    "duration": lambda flags: flags.dyn_duration("x", datetime.timedelta(), secret=True),
    "list": lambda flags: flags.dyn_string_list("x", (), secret=True, choices=["a"]),
    "set": lambda flags: flags.dyn_string_set("x", frozenset(), secret=True, choices=["a"]),
    "enum": lambda flags: flags.dyn_enum("x", Mode.ON, secret=True),
    "string": lambda flags: flags.dyn_string("x", "", secret=True, validator=_quoting),
    "bytes": lambda flags: flags.dyn_bytes("x", b"", secret=True, validator=_quoting),
    "json": lambda flags: flags.dyn_json("x", {}, secret=True, schema={"additionalProperties": {"type": "null"}}),
    "yaml": lambda flags: flags.dyn_json(
        "x", {}, secret=True, yaml=True, schema={"type": "object", "maxProperties": 0}
    ),
}
BAD = [
    SECRET,
    f'{{"{SECRET}": 1}}',
    f'[1, "{SECRET}"',
    f"!{SECRET} x",
    f'{{"a": "{SECRET}"}}',
    SECRET.encode() + b"\xff",
]


def _quoting(value: object) -> None:
    """Raise an error that quotes the value, as a careless validator does."""
    if value:
        raise ValueError(f"bad value {value!r}")


def _everything(error: BaseException) -> str:
    """Return all that an error reporter could show: the attributes, the chain, and the variables of each frame."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return shown + repr(error) + repr(vars(error)) + repr(error.__cause__) + repr(error.__context__)


@pytest.mark.parametrize("kind", SECRETS)
def test_a_rejected_secret_stands_nowhere(
    flags: dflag.FlagRegistry, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Neither the error nor its chain, frames, pickle, revision or log lines hold the text of a secret.
    """
    caplog.set_level(logging.DEBUG)
    SECRETS[kind](flags)
    rejected = 0
    for raw in BAD:
        revision = flags.apply({"x": raw}, source="s")
        assert SECRET not in repr(revision)
        for error in revision.rejected.values():
            rejected += 1
            assert SECRET not in _everything(error)
            assert SECRET.encode() not in pickle.dumps(error)

    assert rejected
    assert SECRET not in caplog.text
    assert SECRET not in repr((flags.history(), flags.explain("x"), flags, flags["x"], flags.snapshot()))


@pytest.mark.parametrize("kind", SECRETS)
def test_a_refused_secret_set_by_the_program_hangs_on_nothing(flags: dflag.FlagRegistry, kind: str) -> None:
    """
    The error of ``set_text()`` on a secret flag has the text neither in its message nor in a cause; its frames may.
    """
    flag = SECRETS[kind](flags)
    with pytest.raises(dflag.FlagValueError) as caught:
        flag.set_text(f"!{SECRET} [")

    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    assert SECRET not in str(error) + repr(error) + repr(vars(error))


def test_a_start_that_fails_shows_no_secret(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    An UpdateError and the errors that it collects hold no secret, not even in the variables of their frames.
    """
    flags.dyn_int("number", 0, secret=True)
    flags.dyn_string("word", "", secret=True)

    @flags.validator
    def _rule(snapshot: dflag.Snapshot) -> None:
        _quoting(snapshot["word"])

    for values in ({"number": SECRET}, {"word": SECRET}):
        volume.write(values)
        with pytest.raises(dflag.UpdateError) as caught:
            Updater(flags, volume.path).initialize()
        # The frames of this test are not dflag's.
        caught.value.__traceback__ = caught.tb.tb_next
        for error in (caught.value, *caught.value.errors):
            assert SECRET not in _everything(error)


def test_a_document_that_does_not_parse_at_a_start_shows_nothing(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    A SourceError for a document that does not parse holds no secret, not even in the variables of its frames.
    """
    path = tmp_path / "secret.yaml"
    path.write_text(f"word: {SECRET}\nbad: [\n")
    with pytest.raises(dflag.SourceError, match=r"secret\.yaml:3:1") as caught:
        Updater(flags, FileSource(path, secret=True)).initialize()
    caught.value.__traceback__ = caught.tb.tb_next
    assert SECRET not in _everything(caught.value)


def test_a_checksum_confirms_a_guess(flags: dflag.FlagRegistry) -> None:
    """
    A checksum covers all raw values, so that a reader who knows the others finds a short secret by trying every value.
    """
    flags.dyn_string("pin", "", secret=True)
    seen = flags.apply({"pin": "4711"}, source="s").checksum

    digests = {f"{n:04d}": hashlib.sha256(b"3:pin4:%04d" % n).hexdigest()[:12] for n in range(10_000)}
    assert [pin for pin, digest in digests.items() if digest == seen] == ["4711"]


@pytest.fixture(name="quiet")
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the log, because pytest keeps every record and the error in it."""
    monkeypatch.setattr(logging.getLogger("dflag"), "disabled", True)


@pytest.mark.usefixtures("quiet")
def test_errors_that_are_kept_keep_nothing_alive(flags: dflag.FlagRegistry) -> None:
    """
    When a source gives many different bad texts, only the last error stays in memory, without a traceback.
    """
    flags.dyn_int("x", 0)
    tracemalloc.start()
    try:
        for number in range(20):
            revision = flags.apply({"x": "x" * MIB + str(number)}, source="s")
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept < 5 * MIB
    error = revision.rejected["x"]
    assert error.__traceback__ is None
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None


HOSTILE = "a\n\x1b[31mERROR\x85\u2028\u202e\x9b\x07z"


def _is_clean(text: str) -> bool:
    return text.isprintable() and len(text) < 2500


def test_a_message_is_one_printable_line(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    No value, key or source name, and no validator that quotes one, can forge a log line or steer a terminal.
    """

    def quote(value: object) -> None:
        if value:
            raise ValueError(f"bad value {value}")

    flags.dyn_int("int", 0)
    flags.dyn_string("string", "", validator=quote)
    flags.dyn_json("yaml", {}, yaml=True, schema={"additionalProperties": False})
    flags.dyn_json("json", {}, schema={"additionalProperties": False})
    rejected = []
    for raw in (
        HOSTILE,
        f'{{"{HOSTILE}": 1}}',
        '{"\\n\\u001b": 1}',
        "!a%0A%1B%5B31m x",
        "!" + "a" * 5000 + " x",
        "\x1b: 1",
    ):
        revision = flags.apply({"int": raw, "string": raw, "yaml": raw, "json": raw, raw: "1"}, source=HOSTILE)
        assert {"int", "string", "yaml", "json"} == revision.rejected.keys()
        rejected += revision.rejected.values()

    assert all(_is_clean(str(error)) for error in rejected)
    messages = [record.getMessage() for record in caplog.records if record.name == "dflag"]
    assert len(messages) > len(rejected)
    assert all(map(_is_clean, messages))


def test_a_rule_that_quotes_a_value_gives_one_line(flags: dflag.FlagRegistry) -> None:
    """
    The message of a registry validator is reported as one short printable line.
    """
    flags.dyn_string("x", "")

    @flags.validator
    def _rule(snapshot: dflag.Snapshot) -> None:
        if snapshot["x"]:
            raise ValueError(snapshot["x"])

    assert _is_clean(str(flags.apply({"x": HOSTILE * 1000}, source="s").error))
    with pytest.raises(dflag.ValidationError) as caught:
        flags["x"].set(HOSTILE * 1000)
    assert _is_clean(str(caught.value))


def test_a_message_stays_as_it_is_when_pickled(flags: dflag.FlagRegistry) -> None:
    """
    Pickling an error does not escape or cut its message a second time.
    """
    flags.dyn_string("x", "", validator=_quoting)
    error = flags.apply({"x": HOSTILE * 1000}, source="s").rejected["x"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own


def test_thousands_of_unknown_names_take_no_time(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    Five thousand unknown names next to a thousand flags are all reported within seconds, the first 20 with a hint.
    """
    for number in range(1000):
        flags.dyn_int(f"the_limit_of_thing_number_{number:04d}", 0)
    names = [f"the_limit_of_thing_number_{number:04d}x" for number in range(5000)]
    began = time.thread_time()
    flags.apply(dict.fromkeys(names, "1"), source="s")

    assert time.thread_time() - began < 5.0
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(names)
    assert [("did you mean" in message) for message in messages[:21]] == [True] * 20 + [False]


@pytest.mark.usefixtures("quiet")
def test_ever_new_unknown_names_are_not_remembered_for_ever(flags: dflag.FlagRegistry) -> None:
    """
    The registry remembers at most 10,000 of the unknown names that it has reported.
    """
    for start in range(0, 30_000, 5000):
        flags.apply({f"k{number}": "" for number in range(start, start + 5000)}, source="s")
    assert len(sources_of(flags).reports.unknown._reported) <= 10_000


K = 2**18
WORST: dict[str, tuple[str, str]] = {
    "digits": ("int", "9" * K),
    "float": ("float", "1" * K),
    "duration": ("duration", "1h" * (K // 2)),
    "fractions": ("duration", ".1h" * 330),
    "blanks": ("duration", "1h" + " \t" * 498 + "x"),
    "commas": ("list", "," * K),
    "texts": ("list", "[" + '"",' * (K // 3) + '""]'),
    "escapes": ("json", "[" * 101 + '"' + "\\\\" * (K // 2)),
    "quotes": ("json", "[" * 99 + '"' * K),
    "ints": ("json", "[" + ",".join(["9" * 640] * (K // 641)) + "]"),
    "arrays": ("json", "[" + ("[" * 98 + "]" * 98 + ",") * (K // 197) + "1]"),
    "duplicates": ("json", "{" + '"a":1,' * (K // 6) + '"a":1}'),
    "keys": ("yaml", "".join(f"k{number}:\n" for number in range(K // 9))),
    "flow": ("yaml", "[a" + ",a" * (K // 2) + "]"),
    "anchors": ("yaml", "".join(f"- &a{number} x\n" for number in range(K // 13))),
    "aliases": ("yaml", "- &a [" + "[]," * 1000 + "]\n" + "- *a\n" * 1040),
    "indents": ("yaml", "\n".join(" " * number + "a:" for number in range(700))),
    "plain": ("yaml", "a\n" * (K // 2)),
    "tag": ("yaml", "!" + "a" * K),
}


@pytest.mark.parametrize("case", WORST)
def test_the_worst_text_takes_a_moment(flags: dflag.FlagRegistry, case: str) -> None:
    """
    A value as long as a quarter of a ConfigMap, written to be slow to parse, is accepted or refused within seconds.
    """
    flags.dyn_int("int", 0)
    flags.dyn_float("float", 0.0)
    flags.dyn_duration("duration", datetime.timedelta())
    flags.dyn_string_list("list", ())
    flags.dyn_json("json", None)
    flags.dyn_json("yaml", None, yaml=True)
    name, text = WORST[case]
    flags.apply({name: "0"}, source="warm-up")
    began = time.thread_time()
    revision = flags.apply({name: text}, source="s")

    assert time.thread_time() - began < 6.0
    assert all(len(str(error)) < 2500 for error in revision.rejected.values())


def test_json_that_would_fill_the_memory_is_refused(flags: dflag.FlagRegistry) -> None:
    """
    Fifteen MiB of empty arrays, more than a gigabyte once parsed, are refused unparsed; a long string or list is not.
    """
    flags.dyn_json("x", None)
    tracemalloc.start()
    try:
        revision = flags.apply({"x": "[" + "[]," * (5 * MIB) + "1]"}, source="s")
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
    assert "commas" in str(revision.rejected["x"])
    assert not flags.apply({"x": '"' + "x" * (15 * MIB) + '"'}, source="s").rejected
    assert not flags.apply({"x": "[" + "1," * (MIB - 2) + "1]"}, source="s").rejected


def _alternative(name: str) -> dict[str, Any]:
    arguments = {"type": "array", "items": {"$ref": "#"}}
    return {"type": "object", "properties": {"op": {"const": name}, "args": arguments}}


def _nested(depth: int) -> str:
    return '{"op": "b", "args": [' * depth + '{"op": "x"}' + "]}" * depth


TREE = {"anyOf": [_alternative("a"), _alternative("b")]}
SCHEMAS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "alternatives": (TREE, _nested(45), False),
    "alternatives of a named draft": (
        {"$schema": "http://json-schema.org/draft-07/schema#", **TREE},
        _nested(45),
        False,
    ),
    "faults of an alternative": (
        {"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "null"}}]},
        "[" + "1," * (MIB // 2) + "1]",
        False,
    ),
    "unevaluated properties": (
        {"patternProperties": {"^k": True}, "unevaluatedProperties": False},
        "{" + ",".join(f'"k{number}":1' for number in range(50_000)) + "}",
        False,
    ),
    "different items": (
        {"uniqueItems": True},
        "[" + ",".join(f'[{n}],{n},{{"a":{n}}}' for n in range(30_000)) + "]",
        True,
    ),
    "items of one hash": ({"uniqueItems": True}, str([n * (2**61 - 1) for n in range(20_000)]), True),
    "expression": ({"format": "regex"}, '"' + "a|b|" * K + '"', False),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_a_schema_cannot_be_made_to_work_for_ever(flags: dflag.FlagRegistry, case: str) -> None:
    """
    A value that makes a harmless schema work quadratically or worse is accepted or refused within seconds.
    """
    schema, text, accepted = SCHEMAS[case]
    flags.dyn_json("x", [] if "uniqueItems" in schema else "" if "format" in schema else {}, schema=schema)
    began = time.thread_time()
    revision = flags.apply({"x": text}, source="s")

    assert time.thread_time() - began < 8.0
    assert accepted == (not revision.rejected)


def test_a_schema_judges_again_after_it_gave_up(flags: dflag.FlagRegistry) -> None:
    """
    The steps that one value has used up do not count against the next value.
    """
    flags.dyn_json("x", {}, schema=TREE)
    assert "steps" in str(flags.apply({"x": _nested(45)}, source="s").rejected["x"])
    assert not flags.apply({"x": '{"op": "b"}'}, source="s").rejected


def test_a_reference_is_never_fetched(flags: dflag.FlagRegistry) -> None:
    """
    Neither a schema nor a value that names a place on the network makes dflag connect to it.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for keyword in ("$ref", "$dynamicRef"):
            with pytest.raises(dflag.DefinitionError, match="never fetched"):
                flags.dyn_json("bad", {}, schema={keyword: url})
        flags.dyn_json("x", {}, schema={"type": "object"}, yaml=True)
        assert not flags.apply({"x": f'{{"$ref": "{url}", "$schema": "{url}", "$id": "{url}"}}'}, source="s").rejected
        with pytest.raises(BlockingIOError):
            server.accept()


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "input", "breakpoint"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "subprocess", "runpy", "code"}


ALLOWED = {
    # The program's own kubeconfig names the plugin; nothing that a source reads does.
    "sources/_credentials.py": ["subprocess"],
    # It imports by names from a table of its own, which holds only modules of this package.
    "_lazy.py": ["__import__"],
}


FORBIDDEN_ATTRIBUTES = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}


def _doubtful(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield node.func.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            yield from names & FORBIDDEN_MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from {f"{node.value.id}.{node.attr}"} & FORBIDDEN_ATTRIBUTES


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_executes_nothing_it_reads(path: Path) -> None:
    """
    No module of dflag uses eval, pickle or a YAML constructor, and the only program that it starts is an exec plugin.
    """
    allowed = ALLOWED.get(str(path.relative_to(PACKAGE)), [])
    assert list(_doubtful(ast.parse(path.read_text(encoding="utf-8")))) == allowed


def test_what_executes_is_found() -> None:
    """
    The search of the test above finds pickle, subprocess, eval and ``yaml.load``.
    """
    text = "import pickle\nfrom subprocess import run\neval('1')\nyaml.load('1')\n"
    assert sorted(_doubtful(ast.parse(text))) == ["eval", "pickle", "subprocess", "yaml.load"]


@pytest.mark.parametrize("kind", ["FIFO", "directory", "device"])
def test_a_file_that_has_just_become_something_else_is_no_value(tmp_path: Path, kind: str) -> None:
    """
    A file that is no longer a regular file is not read as a value: its type is checked again once it is open.
    """
    if kind == "FIFO":
        os.mkfifo(tmp_path / "x")
    elif kind == "directory":
        (tmp_path / "x").mkdir()
    else:
        (tmp_path / "x").symlink_to("/dev/zero")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        value = _entries.read_file(directory, "x")
    finally:
        os.close(directory)
    assert value == (None if kind == "directory" else Unreadable(f"a {kind}"))
