"""
The fields of a ConfigMap and a Secret, and the values that the API server accepts for them.

The server decodes an object by its type (``core/v1`` of ``k8s.io/api``, ``ObjectMeta`` of ``apimachinery``): it refuses
a field that the type lacks, and a value of another type. `dflag.cli._manifests` reads the values of ``data``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dflag.cli._items import Fault
from dflag.cli._json_types import BOOL, FLOAT, INT, LIST, MAPPING, NULL, STRING, TAGGED, is_changed_as_key, type_of
from dflag.errors import nearest
from dflag.sources._names import NAMESPACE_NAME, OBJECT_NAME, is_namespace_name, is_object_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dflag._formats.base import Place
    from dflag._formats.nodes import Node

KINDS: Final = ("ConfigMap", "Secret")

_ANNOTATIONS_MAX_BYTES: Final = 256 * 2**10
"""The limit of apimachinery's ``ValidateAnnotationsSize``."""

# These are compiled at their first use, because manifests that people write seldom have times or labels.
_QUALIFIED: Final = r"(?:(?P<prefix>[^/]*)/)?(?=.{1,63}\Z)(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = r"(?=.{0,63}\Z)(?:(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_TIME: Final = r"(?a)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[-+]\d\d:\d\d)"
_DECIMAL: Final = r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?"
_INT_LIMIT: Final = 2.0**63
_FINALIZERS: Final = frozenset({"foregroundDeletion", "kubernetes", "orphan"})
_MAX_SHOWN_CHARACTERS: Final = 80
"""How many characters of a given text a message repeats."""


class Type:
    """
    The type of a field.

    Attributes:
        name: The type of the value, as `type_of` names it; empty for any.
        fields: The fields that a mapping may have; None for any.
        each: The type of the values of a mapping, or of the items of a list.
        required: The fields of a mapping that must be present and not empty.
        says: What a message says about a value of another type; empty for a message made of the name.
        expects: What a text or a number must be in addition to its type, in words; empty without `accepts`.
        accepts: Returns whether a text or a number is what `expects` says; None if any is accepted.
    """

    __slots__ = ("accepts", "each", "expects", "fields", "name", "required", "says")

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Type] | None = None,
        each: Type | None = None,
        required: tuple[str, ...] = (),
        says: str = "",
        expects: str = "",
        accepts: Callable[[str], bool] | None = None,
    ) -> None:
        self.name: Final = name
        self.fields: Final = fields
        self.each: Final = each
        self.required: Final = required
        self.says: Final = says
        self.expects: Final = expects
        self.accepts: Final = accepts


def _is_time(text: str) -> bool:
    if not re.fullmatch(_TIME, text):
        return False
    import datetime  # at its first use, like the patterns

    try:
        datetime.datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _is_count(text: str) -> bool:
    plain = text.replace("_", "")
    try:
        number = float(plain) if re.fullmatch(_DECIMAL, plain) else float(int(plain, 0))
    except ValueError:  # such as .inf or 0b-11, which nobody writes here
        return True
    return number.is_integer() and 0 <= number < _INT_LIMIT


_ANY: Final = Type("")
_TEXT: Final = Type(STRING)
_TRUTH: Final = Type(BOOL)
_COUNT: Final = Type(INT, expects="an integer of 64 bits, not below 0", accepts=_is_count)
_MOMENT: Final = Type(STRING, expects="a time such as 2026-11-28T10:00:00Z", accepts=_is_time)
_OWNER: Final = Type(
    MAPPING,
    {
        **dict.fromkeys(("apiVersion", "kind", "name", "uid"), _TEXT),
        **dict.fromkeys(("blockOwnerDeletion", "controller"), _TRUTH),
    },
    required=("apiVersion", "kind", "name", "uid"),
)
_MANAGED: Final = Type(
    MAPPING,
    {
        **dict.fromkeys(("apiVersion", "fieldsType", "manager", "operation", "subresource"), _TEXT),
        "fieldsV1": Type(MAPPING, each=_ANY),
        "time": _MOMENT,
    },
)
_METADATA: Final = Type(
    MAPPING,
    {
        **dict.fromkeys(("generateName", "name", "namespace", "resourceVersion", "selfLink", "uid"), _TEXT),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _MOMENT),
        **dict.fromkeys(("deletionGracePeriodSeconds", "generation"), _COUNT),
        "annotations": Type(MAPPING, each=Type(STRING, says="annotations are strings")),
        "finalizers": Type(LIST, each=_TEXT),
        "labels": Type(MAPPING, each=Type(STRING, says="labels are strings")),
        "managedFields": Type(LIST, each=_MANAGED),
        "ownerReferences": Type(LIST, each=_OWNER),
    },
)
_COMMON: Final = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA, "immutable": _TRUTH}
# `dflag.cli._manifests` reports the faults in data, key by key.
_OBJECTS: Final = {
    "ConfigMap": Type(MAPPING, {**_COMMON, "binaryData": _ANY, "data": _ANY}),
    "Secret": Type(MAPPING, {**_COMMON, "data": _ANY, "stringData": _ANY, "type": _TEXT}),
}


def faults(node: Node, kind: str, place: Callable[[Node], Place]) -> Iterator[Fault]:
    """
    Yield what the API server refuses in an object, apart from its data.
    """
    checker = _Checker(kind, place)
    yield from checker.of_value(node, _OBJECTS[kind], "")
    metadata = node.get("metadata")
    if metadata is not None and metadata.members is not None:
        yield from checker.of_metadata(metadata)


def quoted(node: Node) -> str:
    """
    Return what to write instead of a scalar that must be a string.
    """
    return f'write "{node.text}"'


class _Checker:
    def __init__(self, kind: str, place: Callable[[Node], Place]) -> None:
        self._kind: Final = kind
        self._place: Final = place

    def of_value(self, node: Node, wanted: Type, path: str) -> Iterator[Fault]:
        found = type_of(node)
        if found == NULL or not wanted.name:
            return
        if wanted.accepts is not None and found in (wanted.name, FLOAT) and node.text is not None:
            if not wanted.accepts(node.text):
                yield Fault(self._place(node), "", f"{path}: expected {wanted.expects}, got {_shown(node.text)}")
        elif found != wanted.name:
            says = wanted.says or f"expected {wanted.name}"
            yield Fault(self._place(node), "", f"{path or self._kind}: {says}{_fix(node, found, wanted.name)}")
        elif node.members is not None:
            yield from self._of_members(node, node.members, wanted, path)
        elif wanted.each is not None:
            for number, item in enumerate(node.items or ()):
                if type_of(item) == NULL:
                    yield Fault(self._place(item), "", f"{path}[{number}]: expected {wanted.each.name}, found nothing")
                yield from self.of_value(item, wanted.each, f"{path}[{number}]")

    def _of_members(
        self, node: Node, members: Mapping[str, tuple[Node, Node]], wanted: Type, path: str
    ) -> Iterator[Fault]:
        for name, (key, value) in members.items():
            inner = wanted.each if wanted.fields is None else wanted.fields.get(name)
            below = f"{path}.{name}" if path else name
            if inner is None:
                owner = f"{path}: there is" if path else f"a {self._kind} has"
                message = f"{owner} no field {name[:_MAX_SHOWN_CHARACTERS]!r}{self._hint(name, value, wanted, path)}"
                yield Fault(self._place(key), "", message)
                continue
            if wanted.each is not None and is_changed_as_key(key):
                yield Fault(self._place(key), "", f'{path}: keys are strings; write "{key.text}" for the key')
            yield from self.of_value(value, inner, below)
        for name in wanted.required:
            if name not in members or members[name][1].text == "" or type_of(members[name][1]) == NULL:
                yield Fault(self._place(node), "", f"{path}: the field {name!r} is missing; add it")

    def _hint(self, name: str, value: Node, wanted: Type, path: str) -> str:
        """
        Return what to do about a field that does not exist, such as the name that was probably meant.
        """
        if path:
            near = nearest(name, wanted.fields or ())
            return "; take it away" if near is None else f"; write {near!r}"
        if name in ("binaryData", "stringData"):
            return "; write its keys below data" + ", in base64" * (self._kind == "Secret")
        near = nearest(name, wanted.fields or ())
        if near is not None and (value.text is None or near.lower() == name.lower()):
            return f"; write {near!r}"
        if name in (_METADATA.fields or ()):
            return "; indent it below metadata"
        below = "data" if self._kind == "ConfigMap" else "stringData"
        return f"; indent it below {below}, or take it away"

    def of_metadata(self, metadata: Node) -> Iterator[Fault]:
        yield from self._of_names(metadata)
        for field, check in (("labels", _label_problem), ("annotations", _annotation_problem)):
            inner = metadata.get(field)
            for key, nodes in ((inner and inner.members) or {}).items():
                for node, problem in zip(nodes, check(key, nodes[1].text or ""), strict=True):
                    if problem:
                        yield Fault(self._place(node), "", f"metadata.{field}: {problem}")
        yield from self._of_size(metadata.get("annotations"))
        yield from self._of_finalizers(metadata.get("finalizers"))

    def _of_names(self, metadata: Node) -> Iterator[Fault]:
        """
        Check the names that are given. A missing name is no fault, as another tool may complete the manifest.
        """
        name, generated = metadata.get("name"), metadata.get("generateName")
        prefix = "" if generated is None else generated.text or ""
        if name is not None and type_of(name) in (STRING, NULL) and not (prefix and not name.text):
            text = "" if type_of(name) == NULL else name.text or ""
            if not is_object_name(text):
                yield Fault(self._place(name), "", f"metadata.name: expected {OBJECT_NAME}, got {_shown(text)}")
        # For its check the server replaces a dash by a letter or digit, but only at the end.
        if generated is not None and prefix and not is_object_name(f"{prefix[:-1]}x" if prefix[-1] == "-" else prefix):
            expected = f"expected the beginning of {OBJECT_NAME}"
            yield Fault(self._place(generated), "", f"metadata.generateName: {expected}, got {_shown(prefix)}")
        yield from self._of_namespace(metadata.get("namespace"))

    def _of_namespace(self, namespace: Node | None) -> Iterator[Fault]:
        text = "" if namespace is None or type_of(namespace) != STRING else namespace.text or ""
        if namespace is not None and text and not is_namespace_name(text):
            expected = f"metadata.namespace: expected {NAMESPACE_NAME}"
            yield Fault(self._place(namespace), "", f"{expected}, got {_shown(text)}")

    def _of_size(self, annotations: Node | None) -> Iterator[Fault]:
        members = (annotations and annotations.members) or {}
        size = sum(len(f"{key}{value.text or ''}".encode(errors="replace")) for key, (_, value) in members.items())
        if annotations is not None and size > _ANNOTATIONS_MAX_BYTES:
            expected = f"expected at most {_ANNOTATIONS_MAX_BYTES} bytes in all"
            yield Fault(self._place(annotations), "", f"metadata.annotations: {expected}, got {size}")

    def _of_finalizers(self, finalizers: Node | None) -> Iterator[Fault]:
        for item in (finalizers and finalizers.items) or ():
            if type_of(item) == STRING and not _is_finalizer(item.text or ""):
                expected = "expected a name with a domain before it, such as example.com/name"
                yield Fault(self._place(item), "", f"metadata.finalizers: {expected}, got {_shown(item.text or '')}")


def _fix(node: Node, found: str, wanted: str) -> str:
    if found == TAGGED:
        return "; take away the tag before the value"
    if wanted == STRING and node.text is not None:
        return f"; {quoted(node)}"
    if wanted == BOOL and (node.text or "").lower() in ("true", "false"):
        return f"; write {(node.text or '').lower()} without quotes"
    return f", found {found}"


def _label_problem(key: str, value: str) -> tuple[str, str]:
    expected = "expected a value of at most 63 characters of [-._A-Za-z0-9] with a letter or digit at both ends"
    return _name_problem(key), "" if re.fullmatch(_LABEL_VALUE, value) else f"{expected}, got {_shown(value)}"


def _annotation_problem(key: str, _: str) -> tuple[str, str]:
    return _name_problem(key.lower()), ""


def _name_problem(key: str) -> str:
    found = re.fullmatch(_QUALIFIED, key)
    if found is not None and (found["prefix"] is None or is_object_name(found["prefix"])):
        return ""
    expected = "expected a key of at most 63 characters of [-._A-Za-z0-9], perhaps behind a domain and a slash"
    return f"{expected}, got {_shown(key)}"


def _is_finalizer(text: str) -> bool:
    return not _name_problem(text) and ("/" in text or text in _FINALIZERS)


def _shown(text: str) -> str:
    return repr(text[:_MAX_SHOWN_CHARACTERS])
