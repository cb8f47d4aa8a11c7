"""Classes by their names: what stands in the bytes, and the class that it names now.

Reading looks only into modules that the application has imported. It imports none and calls nothing, so bytes that
somebody else has written can't run code.
"""

from __future__ import annotations

import sys
from typing import Any

from reactor.core import StateMismatch
from reactor.delivery.packing.codes import Refused


def path_of(kind: type) -> str:
    """Return ``module:qualname``; raise Refused where it wouldn't be found again under that name."""
    module, name = kind.__module__, kind.__qualname__
    if "<locals>" in name:
        raise Refused(
            f"is of the class {name}, which is defined inside a function",
            "define it at the top of a module, so that it is found again after a restart",
        )
    if module.startswith("reactor."):
        # The public place of a class stays; the file that it stands in may change.
        for place in ("reactor", ".".join(module.split(".")[:2])):
            if _find(place, name) is kind:
                return f"{place}:{name}"
    if _find(module, name) is not kind:
        raise Refused(
            f"is of a class that isn't what {module}:{name} names",
            "give the class the name under which its module has it (was the module reloaded?)",
        )
    return f"{module}:{name}"


def _find(module: str, qualname: str) -> Any:
    # Only what stands there: getattr would call descriptors, and a module's own __getattr__.
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        try:
            found = vars(found).get(name)
        except TypeError:
            return None
    return found


def class_of(path: str) -> type:
    """Return the class that ``module:qualname`` names now; raise StateMismatch where there is none."""
    module, _, name = path.partition(":")
    found = _find(module, name) if name else None
    if isinstance(found, type):
        return found
    if module == "__main__":
        fix = (
            "it was saved by a script that defined it: run that one, or keep the class in a module of its own"
        )
    elif module not in sys.modules:
        fix = (
            f"import {module} before the pipeline starts; where it was moved, leave its name in the old place"
        )
    else:
        fix = (
            f"leave the name {name} in {module}, for the class that it is now; "
            "or declare the class with @event, whose name stays when it is moved"
        )
    raise StateMismatch(f"an object of the class {path} was saved, and there is no such class now; {fix}")
