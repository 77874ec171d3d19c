"""
What every kind of flag value is: a stateless translator between text and value.
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


class Problem(ValueError):  # noqa: N818 - a reason in parts; the error is made of it
    """
    Why a text or a value is refused, in parts, so that a secret's detail can be left out.

    The message of the `FlagValueError` made of it reads ``expected <expected> (<detail>), got ...``.

    Attributes:
        expected: What would have been right: ``"an int"``. Never quotes what was given.
        detail: What is wrong with this one in particular; may quote it.
        json_path: Where in a JSON value the fault lies.
        masked: What to say in place of *expected* of a secret, one of whose values that may quote.
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
    One kind of value: its grammar, its Python type, how it is printed, and what else is known of it.

    The first part says what a kind is. The second publishes what the command, the admission policy, the page and the
    test kit need, each with a default that holds for any kind, so that nothing outside asks which kind it has.
    Instances have no mutable state and are shared between flags; any thread may use one.
    """

    __slots__ = ()

    name: ClassVar[str]
    """What ``flag.type_name`` says: ``"int"``."""

    binary: ClassVar[bool] = False
    """Whether bytes from a source are the value itself, neither decoded nor stripped."""

    hides: ClassVar[bool] = False
    """Whether `format` may leave out some of a value, which `exact` writes."""

    is_map: ClassVar[bool] = False
    """Whether a value is made of all keys that fit a pattern: a `MapKind`."""

    is_json: ClassVar[bool] = False
    """Whether a text is JSON."""

    is_text: ClassVar[bool] = False
    """Whether a text is the value itself, so that any text is one."""

    is_switch: ClassVar[bool] = False
    """Whether the name of a flag alone, on the command line, sets it."""

    is_block: ClassVar[bool] = False
    """Whether a manifest writes a text over several lines."""

    step: ClassVar[Any] = None
    """What lies beyond a limit is this far away; None of a kind without ``min`` and ``max``."""

    increment: ClassVar[str] = ""
    """By what a field for a number goes up and down, ``"any"`` where nothing is the least; empty of what is none."""

    one_of: ClassVar[str] = "one of"
    """What an error says before the choices."""

    out_of: ClassVar[str] = "out of"
    """What a description says before the choices."""

    speaks_text: ClassVar[bool] = False
    """Whether another system may ask for the text of a value where `portable` returns something else."""

    expected: str
    """What a message says was expected: ``"an int"``."""

    def parse(self, text: str) -> T:
        """
        Read a text, already stripped, as a value; raise `Problem` when it is not in the grammar.
        """
        raise NotImplementedError

    def load(self, native: object, text: str) -> T:  # noqa: ARG002 - for kinds that read native values
        """
        Read a document's value, given natively and as text; most kinds read the text.
        """
        return self.parse(text)

    def text_of(self, raw: Text) -> str:
        """
        Return the text that `parse` reads as `load` reads a document's value; of most kinds the value's own text.
        """
        return str(raw)

    def convert(self, value: object) -> T:
        """
        Check and normalise a Python value given in code; raise `Problem` when it is of the wrong type.
        """
        raise NotImplementedError

    def format(self, value: T) -> str:
        """
        Print a value for people, as the Go library does; unless it hides something, it reads back as an equal value.
        """
        raise NotImplementedError

    def head(self, value: T, limit: int) -> str:  # noqa: ARG002 - for kinds that can print a part
        """
        Print at least the first *limit* characters of what `format` prints, for less work where that can be.
        """
        return self.format(value)

    def exact(self, value: T) -> str:
        """
        Return the text of all of a value, also of what `format` hides: equal texts are equal values. Never show it.
        """
        return self.format(value)

    def portable(self, value: T) -> object:
        """
        Return a value as other flag systems know it: a bool, int, float, str, read-only dict or list, or None.

        Raises:
            Problem: They have none for it.
        """
        return self.format(value)

    def merge(self, values: Sequence[T]) -> T:
        """
        Put the values of several sources together, the lowest first; of most kinds the highest alone counts.
        """
        return values[-1]

    def prefixed(self, prefix: str) -> Kind[T]:
        """
        Return the same kind with *prefix* before the pattern of its keys; only a map has one.
        """
        raise NotImplementedError

    def without_schema(self) -> Kind[T]:
        """
        Return the same kind, which takes values that its JSON Schema refuses: a mutator is still to change them.
        """
        return self

    def same(self, one: T, other: T) -> bool:
        """
        Return whether two values are the same, types included.
        """
        return one == other

    def convert_choices(self, choices: Iterable[Any]) -> tuple[Any, ...]:
        """
        Check and normalise the ``choices`` of a declaration; raise `Problem` when one is of the wrong type.
        """
        return tuple(self.convert(choice) for choice in choices)

    def is_among(self, value: T, choices: Sequence[Any]) -> bool:
        """
        Return whether a value is one of the choices, or made of them.
        """
        return any(self.same(value, choice) for choice in choices)

    # --- what the command, the policy, the page and the test kit need

    def words(self) -> str:
        """
        Return what it is, in a few words.
        """
        return self.name

    def members(self) -> str:
        """
        List all values there are, if they are few.
        """
        return ""

    def options(self, choices: Sequence[Any] | None) -> Sequence[T] | None:
        """
        Return all values there are to choose from; None when they are many, or made of the choices.

        Args:
            choices: The choices of the declaration.
        """
        return choices

    def language(self) -> str:
        """
        Return what an editor holds a text to: ``"json"``, or the empty text for nothing.
        """
        return "json" if self.is_json else ""

    def draft(self, value: T) -> str:
        """
        Return the text of a value that an editor begins with: what `format` prints, in the order that was written.
        """
        return self.format(value)

    def native(self, value: T) -> Any:
        """
        Return a value as JSON best holds it.
        """
        return self.format(value)

    def reads_json(self, text: str) -> bool:  # noqa: ARG002 - for kinds with several ways to write a value
        """
        Return whether a text is read as JSON, so that where it stops being JSON is where the fault is.
        """
        return self.is_json

    def pattern(self, limits: Limits) -> str | None:  # noqa: ARG002 - as above
        """
        Return the grammar of texts, not anchored, in what both Python and ECMA-262 take for a pattern; None for any.
        """
        return None

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:  # noqa: ARG002 - as above
        """
        Return JSON Schemas of the values in a document that are not texts, one of which has to fit.
        """
        return [{}]

    def cel(self, limits: Limits) -> CEL | None:  # noqa: ARG002 - as above
        """
        Return what a text has to be, in the Common Expression Language; None when that cannot be said.
        """
        return None

    def spellings(self, value: T) -> list[str]:
        """
        List ways to write a value, the printed one first; some may not read, or as another value.
        """
        return [self.exact(value)]

    def shape(self, demands: Demands, choices: Sequence[Any] | None = None) -> Shape | None:
        """
        Return of which random values are made; None when only the default is known.

        Args:
            demands: What limits and validators demand, in the keywords of JSON Schema.
            choices: The choices of the declaration.
        """
        from dflag._kinds.shapes import Sampled

        if choices is not None:
            return Sampled(choices)
        return Sampled(demands["enum"]) if "enum" in demands else self._shape(demands)

    def _shape(self, demands: Demands) -> Shape | None:  # noqa: ARG002 - as above
        return None
