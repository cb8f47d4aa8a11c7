"""Pydantic's models: their fields, and what else they keep. Pydantic is looked at only where it is in use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from reactor.delivery.packing.codes import Refused
from reactor.delivery.packing.shapes import MISSING, Shape, shape_of


def is_model(kind: type) -> bool:
    """Tell whether it is a model of Pydantic."""
    pydantic: Any = sys.modules.get("pydantic")
    base: Any = getattr(pydantic, "BaseModel", None)
    return isinstance(base, type) and issubclass(kind, base)


class ModelShape(Shape):
    """Besides the fields: which were set, extra and private attributes. Nothing is validated again."""

    def __init__(self, kind: Any) -> None:
        self._fields: dict[str, Any] = dict(kind.model_fields)
        super().__init__(kind, tuple(self._fields))

    def make(self, values: list[Any]) -> Any:
        made = super().make(values)
        # Those that come from the bytes take their place.
        given = {name for name, value in zip(self.names, values, strict=True) if value is not MISSING}
        self.set(made, "__pydantic_fields_set__", given)
        for name in ("__pydantic_extra__", "__pydantic_private__"):
            self.set(made, name, None)
        return made

    def default(self, name: str, made: Any) -> Any:
        field = self._fields[name]
        if field.is_required():
            raise self.lacking(name)
        return field.get_default(call_default_factory=True, validated_data=dict(made.__dict__))

    def compared(self) -> Callable[[Any], Iterator[tuple[str, Any]]]:
        pydantic: Any = sys.modules["pydantic"]
        kind: Any = self.kind
        if kind.__eq__ is not pydantic.BaseModel.__eq__:
            raise self.refuse_key()
        return self._named

    def _named(self, value: Any) -> Iterator[tuple[str, Any]]:
        if value.__pydantic_extra__ or value.__pydantic_private__:
            raise Refused(
                f"is a {self.kind.__qualname__} with extra or private attributes",
                "use as key what tells such objects apart: a text, a number, a tuple",
            )
        return ((name, getattr(value, name)) for name in self.names)


def found_shape(kind: type) -> Shape | None:
    """Return the shape of a class, of Pydantic's or others; None where it declares no fields."""
    return ModelShape(kind) if is_model(kind) else shape_of(kind)
