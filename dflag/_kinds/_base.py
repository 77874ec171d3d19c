"""
The base class of all kinds. A kind is a stateless translator between text and value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape
    from dflag._raw import Text

T = TypeVar("T")


class Problem(ValueError):  # noqa: N818 - a reason in parts, from which the error is made
    """
    The reason why a text or a value is refused, in parts, so that the detail of a secret can be left out.

    A `FlagValueError` that is made from it reads ``expected <expected> (<detail>), got ...``.

    Attributes:
        expected: The words for what is accepted: ``"an int"``. Never quotes the refused text or value.
        detail: What is wrong with this text or value in particular. It may quote the text or value.
        json_path: The place of the fault in a JSON value; None if there is no such place.
        masked: The words that replace *expected* for a secret flag, where *expected* may quote a value of the flag.
    """

    def __init__(
        self, expected: str, detail: str = "", *, json_path: str | None = None, masked: str | None = None
    ) -> None:
        super().__init__(f"expected {expected}" + (f" ({detail})" if detail else ""))
        self.expected = expected
        self.detail = detail
        self.json_path = json_path
        self.masked = expected if masked is None else masked


class Kind(Generic[T]):
    """
    One kind of value: its grammar, its Python type and its printed form.

    The first part of the class defines the kind. The second part publishes what the command, the admission policy, the
    page and the test kit need. Each of these methods has a default that holds for any kind, so that no code outside of
    this package asks which kind a flag has.
    Instances have no mutable state and are shared between flags; any thread may use one.
    """

    __slots__ = ()

    name: ClassVar[str]
    """The value of ``flag.type_name``: ``"int"``."""

    binary: ClassVar[bool] = False
    """Whether the bytes of a source are the value itself, neither decoded nor stripped."""

    hides: ClassVar[bool] = False
    """Whether `format` may leave out a part of a value. `exact` writes all of it."""

    is_map: ClassVar[bool] = False
    """Whether a value consists of all keys that match a pattern, as for a `MapKind`."""

    is_json: ClassVar[bool] = False
    """Whether a text is JSON."""

    is_text: ClassVar[bool] = False
    """Whether the text itself is the value, so that every text is valid."""

    is_switch: ClassVar[bool] = False
    """Whether the command line sets a flag to true by its name alone."""

    is_block: ClassVar[bool] = False
    """Whether a manifest writes the text as a block of several lines."""

    step: ClassVar[Any] = None
    """The distance from a limit to a value just beyond it; None for a kind without ``min`` and ``max``."""

    increment: ClassVar[str] = ""
    """The step of a number field on the page, ``"any"`` if there is no smallest one; empty for other kinds."""

    one_of: ClassVar[str] = "one of"
    """The words before the choices in an error message."""

    out_of: ClassVar[str] = "out of"
    """The words before the choices in a description."""

    speaks_text: ClassVar[bool] = False
    """Whether other flag systems may read a value as text although `portable` returns another type."""

    expected: str
    """The words for a valid value in error messages: ``"an int"``."""

    def parse(self, text: str) -> T:
        """
        Parse a text, stripped unless the flag keeps white space; raise `Problem` if it is not in the grammar.
        """
        raise NotImplementedError

    def load(self, native: object, text: str) -> T:  # noqa: ARG002 - for kinds that read native values
        """
        Convert a value of a document, which is given in its native form and as text. Most kinds parse the text.
        """
        return self.parse(text)

    def text_of(self, raw: Text) -> str:
        """
        Return a text that `parse` converts to the same value as `load` converts *raw*; for most kinds *raw* itself.
        """
        return str(raw)

    def convert(self, value: object) -> T:
        """
        Check and normalise a Python value that is given in code; raise `Problem` if it is not of this kind.
        """
        raise NotImplementedError

    def format(self, value: T) -> str:
        """
        Return a text for people, as the Go library prints it. It parses to an equal value, unless a part is hidden.
        """
        raise NotImplementedError

    def head(self, value: T, limit: int) -> str:  # noqa: ARG002 - for kinds that can print a part
        """
        Return at least the first *limit* characters of what `format` returns, with less work if the kind supports that.
        """
        return self.format(value)

    def exact(self, value: T) -> str:
        """
        Return a text of the whole value, hidden parts included. Equal texts mean equal values. Never show it.
        """
        return self.format(value)

    def portable(self, value: T) -> object:
        """
        Return a value in a type of other flag systems: a bool, int, float, str, read-only dict or list, or None.

        Raises:
            Problem: Other flag systems have no type for the value.
        """
        return self.format(value)

    def merge(self, values: Sequence[T]) -> T:
        """
        Merge the values of several sources, from the lowest rank to the highest. For most kinds the highest one wins.
        """
        return values[-1]

    def prefixed(self, prefix: str) -> Kind[T]:
        """
        Return the same kind with *prefix* before the pattern of its keys. Only a map has a pattern of keys.
        """
        raise NotImplementedError

    def without_schema(self) -> Kind[T]:
        """
        Return the same kind without its JSON Schema, for values that a mutator has yet to change.
        """
        return self

    def same(self, one: T, other: T) -> bool:
        """
        Return whether two values are the same, types included.
        """
        return one == other

    def convert_choices(self, choices: Iterable[Any]) -> tuple[Any, ...]:
        """
        Check and normalise the ``choices`` of a declaration; raise `Problem` if one is not of this kind.
        """
        return tuple(self.convert(choice) for choice in choices)

    def is_among(self, value: T, choices: Sequence[Any]) -> bool:
        """
        Return whether a value is one of the choices, or consists of them.
        """
        return any(self.same(value, choice) for choice in choices)

    # --- what the command, the policy, the page and the test kit need

    def words(self) -> str:
        """
        Return a description of the kind in a few words.
        """
        return self.name

    def members(self) -> str:
        """
        Return all possible values as one text if they are few, and the empty text otherwise.
        """
        return ""

    def options(self, choices: Sequence[Any] | None) -> Sequence[T] | None:
        """
        Return all values that a user can choose from; None if there are many, or if a value consists of choices.

        Args:
            choices: The choices of the declaration.
        """
        return choices

    def language(self) -> str:
        """
        Return the language that an editor expects of a text: ``"json"``, or the empty text if there is none.
        """
        return "json" if self.is_json else ""

    def draft(self, value: T) -> str:
        """
        Return the text that an editor shows first: the text of `format`, but in the order of the written value.
        """
        return self.format(value)

    def native(self, value: T) -> Any:
        """
        Return the form in which JSON represents a value best.
        """
        return self.format(value)

    def reads_json(self, text: str) -> bool:  # noqa: ARG002 - for kinds with several ways to write a value
        """
        Return whether a text is read as JSON. If it is, a fault is at the place where the text stops being JSON.
        """
        return self.is_json

    def pattern(self, limits: Limits) -> str | None:  # noqa: ARG002 - as above
        """
        Return a pattern of the valid texts, not anchored, for both Python and ECMA-262; None if there is no pattern.
        """
        return None

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:  # noqa: ARG002 - as above
        """
        Return JSON Schemas of the values in a document that are not texts. A value must match one of the schemas.
        """
        return [{}]

    def cel(self, limits: Limits) -> CEL | None:  # noqa: ARG002 - as above
        """
        Return the conditions on a text in the Common Expression Language; None if the language cannot express them.
        """
        return None

    def spellings(self, value: T) -> list[str]:
        """
        Return ways to write a value, the printed text first. Some of them might not parse, or parse to another value.
        """
        return [self.exact(value)]

    def shape(self, demands: Demands, choices: Sequence[Any] | None = None) -> Shape | None:
        """
        Return the shape of random values; None if only the default is known to be valid.

        Args:
            demands: The demands of limits and validators, as keywords of JSON Schema.
            choices: The choices of the declaration.
        """
        from dflag._kinds.shapes import Sampled

        if choices is not None:
            return Sampled(choices)
        return Sampled(demands["enum"]) if "enum" in demands else self._shape(demands)

    def _shape(self, demands: Demands) -> Shape | None:  # noqa: ARG002 - as above
        return None
