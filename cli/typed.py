"""What was typed becomes a value: text, numbers, paths, switches and lists of them.

The law of this file: plain types only, in words that are the same with every version of typer. Newer ones load a
validation library of 60 ms for this, before `algate sessions` has asked anything; what isn't plain is left to them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args, get_origin

PLAIN = (str, int, float, Path, bool)
NUMBERS = {int: "a whole number", float: "a number"}
YES, NO = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off", "")


class PlainValue:
    """Reads one option or argument of `kind`; `least` and `most` are what a number may be, None: anything."""

    def __init__(
        self, kind: type, least: float | None = None, most: float | None = None, several: bool = False
    ) -> None:
        self.kind, self.least, self.most, self.several = kind, least, most, several

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value, None if there is none; typer's BadParameter if it can't be one. Typer calls this by its name."""
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        try:
            return [self.read(one) for one in value] if many or self.several else self.read(value)
        except ValueError as error:
            import typer

            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None

    def read(self, value: Any) -> Any:
        """One value, typed or a default; ValueError in words for the operator."""
        if self.kind is bool:
            return value if isinstance(value, bool) else _switch(str(value))
        if self.kind not in NUMBERS:
            return value if isinstance(value, self.kind) else self.kind(value)
        try:
            number = self.kind(value)
        except ValueError:
            raise ValueError(f"{value!a} is not {NUMBERS[self.kind]}") from None
        if math.isnan(number):
            raise ValueError(f"{value!a} is not {NUMBERS[self.kind]}")
        if self.least is not None and number < self.least:
            raise ValueError(f"{value} is less than {self.least}")
        if self.most is not None and number > self.most:
            raise ValueError(f"{value} is more than {self.most}")
        return number


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in YES + NO:
        raise ValueError(f"{text!a} is neither true nor false")
    return word in YES


def plain(annotation: Any, about: Any) -> PlainValue | None:
    """The reader of a parameter of this type; `about` is typer's record of it. None: it isn't plain."""
    several = get_origin(annotation) is list
    kind = get_args(annotation)[0] if several else annotation
    checked = any(getattr(about, name) for name in ("exists", "resolve_path", "writable", "allow_dash", "path_type"))
    if kind not in PLAIN or about.parser is not None or about.clamp or (kind is Path and (checked or about.readable)):
        return None
    return PlainValue(kind, about.min, about.max, several)


class PlainParameters:
    """Of a command of typer: its plain parameters are read here if this version of typer would load a library for it.
    In front of typer's class among a command's bases."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, --help too."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # typer's class, which comes after this one
        for one in params:
            described = getattr(one, "type_descriptor", None)
            if described is not None and hasattr(one, "get_runtime_param"):
                reader = plain(described.annotation, described.parameter_info)
                if reader is not None:
                    one.get_runtime_param = lambda reader=reader: reader
        return params
