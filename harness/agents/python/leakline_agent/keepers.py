"""The containers that grow: which ones are longer than they were, and what a person would call them."""

import gc
import sys
from collections import OrderedDict, deque

from leakline_agent import census
from leakline_agent.frames import kind_of

_KINDS = (dict, list, set, deque, OrderedDict)
_MOST_GROWN = 12
_MOST_LEVELS = 4
_MOST_REFERRERS = 200


def sizes():
    """{identity: length} of every list, dict, set and deque."""
    return {id(thing): len(thing) for thing in census.objects() if type(thing) in _KINDS}


def grown(before, young, least):
    """Rows as of `named` of those in `before` that grew by `least` or more and are not `young`, most first.

    One call for all: looking for who refers to something walks the whole heap.
    """
    longer = []
    for thing in census.objects():
        if type(thing) in _KINDS and id(thing) not in young:
            more = len(thing) - before.get(id(thing), len(thing))
            if more >= least and thing is not before and thing is not young:
                longer.append((more, thing))
    longer.sort(key=lambda row: row[0], reverse=True)
    return named(longer, (before, longer), young)


def named(longer, ours, young, unit=""):
    """[{"owner", "kind", "grown", "unit"}] of (by how much, thing) rows; `ours` has what of the agent holds them."""
    rows = []
    for more, thing in longer[:_MOST_GROWN]:
        owner, kind = _owner(thing, ours, young)
        if owner and kind != "agent":
            rows.append({"owner": owner, "kind": type(thing).__name__, "code": kind, "grown": more, "unit": unit})
    return rows


def _owner(thing, ours, young):
    """(name, whose code it is) of what holds `thing`: the nearest of the user's own, else the nearest with a name."""
    best, path = ("", "stdlib"), ""
    for _ in range(_MOST_LEVELS):
        step = _holder(thing, ours, young)
        if step is None:
            break
        holder, name, kind = step
        path = f"{name} of {path}" if path and not name.endswith("]") else (name or path)
        if name and kind == "user":
            return name if not best[0] else f"{name} ({best[0]})", kind
        if name and not best[0]:
            best = (name, kind)
        thing = holder
    return best


def _holder(thing, ours, young):
    """(what holds `thing`, the name it has there or "", whose code that is), the most telling of its holders."""
    found = None
    for holder in gc.get_referrers(thing)[:_MOST_REFERRERS]:
        if (
            id(holder) in young
            or any(holder is mine for mine in ours)
            or type(holder).__name__ in ("frame", "list_iterator", "tuple")
        ):
            continue
        step = _in_dict(holder, thing) if type(holder) is dict else _in_instance(holder, thing)
        if step is not None and (found is None or (step[1] and not found[1])):
            found = step
    return found


def _in_dict(holder, thing):
    name = next((key for key, value in list(holder.items()) if value is thing and type(key) is str), None)
    module = holder.get("__name__") if "__spec__" in holder else None
    if name is not None and type(module) is str:
        return holder, f"{module}.{name}", kind_of(_text(holder.get("__file__")) or "<frozen>")
    for owner in gc.get_referrers(holder)[:_MOST_REFERRERS]:
        if _attributes(owner) is holder and name is not None:
            return owner, f"{class_name(type(owner))}.{name}", _kind(type(owner))
        if isinstance(owner, type) and name is not None and owner.__dict__.get(name) is thing:
            return owner, f"{class_name(owner)}.{name}", _kind(owner)
    return holder, "", "stdlib"


def _in_instance(holder, thing):
    attributes = _attributes(holder)
    if isinstance(attributes, dict):
        for name, value in list(attributes.items()):
            if value is thing and type(name) is str:
                return holder, f"{class_name(type(holder))}.{name}", _kind(type(holder))
    for kind in type.__dict__["__mro__"].__get__(type(holder)):
        for name, slot in list(kind.__dict__.items()):
            if type(slot).__name__ == "member_descriptor" and kind is not type:
                try:
                    value = slot.__get__(holder)
                except AttributeError:
                    continue
                if value is thing:
                    return holder, f"{class_name(kind)}.{name}", _kind(kind)
    return holder, "", "stdlib"


def _attributes(thing):
    try:
        return object.__getattribute__(thing, "__dict__")
    except Exception:
        return None


def is_users(kind):
    """Whether a class is of the user's own code."""
    return _kind(kind) == "user"


def class_name(kind):
    """`module.Class`, asked of nothing that the SUT wrote."""
    name = type.__dict__["__qualname__"].__get__(kind)
    module = kind.__dict__.get("__module__")
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def _kind(kind):
    module = sys.modules.get(_text(kind.__dict__.get("__module__")) or "")
    return kind_of(_text(getattr(module, "__file__", None)) or "<frozen>")


def _text(value):
    return value if type(value) is str else None
