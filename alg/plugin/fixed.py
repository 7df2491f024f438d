"""Values that never change once made, as classes that compile to plain structs.

The law of this file: what such a value has beside its fields. A NamedTuple takes the same words, but compiled code
makes one six times as slowly, and looks each field up by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

F = TypeVar("F", bound="Fixed")


class Fixed:
    """`__match_args__` of each class derived from it are its fields, in the order in which `__init__` takes them. Equal
    are two of one class with equal fields; in other ways, too, it is used as a NamedTuple is."""

    __slots__ = ()

    def _words(self) -> tuple[Any, ...]:
        made: Any = type(self)
        return tuple([getattr(self, name) for name in made.__match_args__])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and type(self) is type(other) and self._words() == other._words()

    def __hash__(self) -> int:
        return hash(self._words())

    def __repr__(self) -> str:
        made: Any = type(self)
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in made.__match_args__)
        return f"{made.__name__}({said})"

    def __iter__(self) -> Iterator[Any]:
        return iter(self._words())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._words()

    def _replace(self: F, **changes: Any) -> F:
        """The same with other values of some fields."""
        made: Any = type(self)
        return made(**{name: getattr(self, name) for name in made.__match_args__} | changes)  # type: ignore[no-any-return]
