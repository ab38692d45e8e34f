"""Containers that have grown since the start of a trace window, and their names: the retainers of a leak."""

import gc
import sys
from collections import OrderedDict, deque

from leakline_agent import census
from leakline_agent.frames import kind_of

_KINDS = (dict, list, set, deque, OrderedDict)
_MAX_NAMED = 12
"""Containers that get a name; the search for each walks the whole heap."""
_MAX_LEVELS = 4
"""Steps from a container to what refers to it, until one has a name."""
_MAX_REFERRERS = 200
"""Referrers of an object that are looked at."""


def sizes():
    """{id: length} of every list, dict, set and deque that the collector tracks."""
    return {id(thing): len(thing) for thing in census.objects() if type(thing) in _KINDS}


def grown(before, new_ids, least):
    """Rows as of `named` of the containers in `before` (of `sizes`) that grew by `least` entries or more, most first.

    Without those in `new_ids`: a container created in the window may have the identity of one that died in it.
    """
    longer = []
    for thing in census.objects():
        if type(thing) in _KINDS and id(thing) not in new_ids:
            more = len(thing) - before.get(id(thing), len(thing))
            if more >= least and thing is not before and thing is not new_ids:
                longer.append((more, thing))
    longer.sort(key=lambda row: row[0], reverse=True)
    return named(longer, (before, longer), new_ids)


def named(longer, ours, new_ids, unit=""):
    """[{"owner", "kind": type, "code": as of frames.kind_of, "grown", "unit"}] of the (growth, object) rows `longer`.

    `ours` are the agent's own objects that refer to these; they are not taken for retainers. `unit` is "bytes", or ""
    for entries. Objects whose retainer has no name are left out.
    """
    rows = []
    for more, thing in longer[:_MAX_NAMED]:
        owner, kind = _owner(thing, ours, new_ids)
        if owner and kind != "agent":
            rows.append({"owner": owner, "kind": type(thing).__name__, "code": kind, "grown": more, "unit": unit})
    return rows


def _owner(thing, ours, new_ids):
    """(name, whose code) of the nearest retainer of `thing` in the user's code, else of the nearest with a name."""
    best, path = ("", "stdlib"), ""
    for _ in range(_MAX_LEVELS):
        step = _retainer(thing, ours, new_ids)
        if step is None:
            break
        retainer, name, kind = step
        path = f"{name} of {path}" if path and not name.endswith("]") else (name or path)
        if name and kind == "user":
            return name if not best[0] else f"{name} ({best[0]})", kind
        if name and not best[0]:
            best = (name, kind)
        thing = retainer
    return best


def _retainer(thing, ours, new_ids):
    """(an object that refers to `thing`, its name there or "", whose code that is); one with a name if there is."""
    found = None
    for retainer in gc.get_referrers(thing)[:_MAX_REFERRERS]:
        if (
            id(retainer) in new_ids
            or any(retainer is mine for mine in ours)
            or type(retainer).__name__ in ("frame", "list_iterator", "tuple")
        ):
            continue
        step = _in_dict(retainer, thing) if type(retainer) is dict else _in_instance(retainer, thing)
        if step is not None and (found is None or (step[1] and not found[1])):
            found = step
    return found


def _in_dict(retainer, thing):
    name = next((key for key, value in list(retainer.items()) if value is thing and type(key) is str), None)
    module = retainer.get("__name__") if "__spec__" in retainer else None
    if name is not None and type(module) is str:
        return retainer, f"{module}.{name}", kind_of(_text(retainer.get("__file__")) or "<frozen>")
    for owner in gc.get_referrers(retainer)[:_MAX_REFERRERS]:
        if _attributes(owner) is retainer and name is not None:
            return owner, f"{class_name(type(owner))}.{name}", _kind(type(owner))
        if isinstance(owner, type) and name is not None and owner.__dict__.get(name) is thing:
            return owner, f"{class_name(owner)}.{name}", _kind(owner)
    return retainer, "", "stdlib"


def _in_instance(retainer, thing):
    attributes = _attributes(retainer)
    if isinstance(attributes, dict):
        for name, value in list(attributes.items()):
            if value is thing and type(name) is str:
                return retainer, f"{class_name(type(retainer))}.{name}", _kind(type(retainer))
    for kind in type.__dict__["__mro__"].__get__(type(retainer)):
        for name, slot in list(kind.__dict__.items()):
            if type(slot).__name__ == "member_descriptor" and kind is not type:
                try:
                    value = slot.__get__(retainer)
                except AttributeError:
                    continue
                if value is thing:
                    return retainer, f"{class_name(kind)}.{name}", _kind(kind)
    return retainer, "", "stdlib"


def _attributes(thing):
    try:
        return object.__getattribute__(thing, "__dict__")
    except Exception:
        return None


def is_users(kind):
    """Whether a class is defined in the user's own code."""
    return _kind(kind) == "user"


def class_name(kind):
    """`module.Class`, read without running the SUT's code (a metaclass may define __getattribute__)."""
    name = type.__dict__["__qualname__"].__get__(kind)
    module = kind.__dict__.get("__module__")
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def _kind(kind):
    module = sys.modules.get(_text(kind.__dict__.get("__module__")) or "")
    return kind_of(_text(getattr(module, "__file__", None)) or "<frozen>")


def _text(value):
    return value if type(value) is str else None
