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
_MOST_DICTS = 64


def sizes():
    """{identity: length} of every list, dict, set and deque."""
    return {id(thing): len(thing) for thing in census.objects() if type(thing) in _KINDS}


def grown(before, young, least):
    """[{"owner", "kind", "code", "grown"}] of those in `before` that grew by `least` or more, the most first."""
    longer = []
    for thing in census.objects():
        if type(thing) in _KINDS and id(thing) not in young:
            more = len(thing) - before.get(id(thing), len(thing))
            if more >= least and thing is not before and thing is not young:
                longer.append((more, thing))
    longer.sort(key=lambda row: row[0], reverse=True)
    del longer[_MOST_GROWN:]
    owners = _owners([thing for _, thing in longer], (before, longer), young)
    return [
        {"owner": owner, "kind": type(thing).__name__, "code": kind, "grown": more}
        for (more, thing), (owner, kind) in zip(longer, owners, strict=True)
        if owner and kind != "agent"
    ]


def _owners(things, ours, young):
    """[(name, whose code it is)] of what holds each of `things`: the nearest of the user's own, else with a name.

    All are looked for together: to find what refers to something is to walk the whole heap.
    """
    owners = [("", "stdlib")] * len(things)
    held = dict(enumerate(things))
    for _ in range(_MOST_LEVELS):
        inner, outer = list(held.values()), {}
        for number, step in zip(held, _holders(inner, (*ours, things, held), young), strict=True):
            if step is None:
                continue
            holder, name, kind = step
            best, _ = owners[number]
            if name and kind == "user":
                owners[number] = (f"{name} ({best})" if best else name, kind)
                continue
            if name and not best:
                owners[number] = (name, kind)
            outer[number] = holder
        held = outer
    return owners


def _holders(things, ours, young):
    """For each of `things`, (what holds it, the name it has there or "", whose code that is), or None."""
    referrers = _referrers(things, ours, young)
    dicts = [holder for holders in referrers.values() for holder in holders if type(holder) is dict]
    of_dicts = _referrers(dicts[:_MOST_DICTS], (*ours, things, *referrers.values()), young)
    return [_most_telling(thing, referrers[id(thing)], of_dicts) for thing in things]


def _most_telling(thing, holders, of_dicts):
    found = None
    for holder in holders:
        is_dict = type(holder) is dict
        step = _in_dict(holder, thing, of_dicts.get(id(holder), ())) if is_dict else _in_instance(holder, thing)
        if found is None or (step[1] and not found[1]):
            found = step
    return found


def _referrers(things, ours, young):
    """{identity of each of `things`: what refers to it}, but for what is `young` or of `ours`."""
    found = {id(thing): [] for thing in things}
    for holder in gc.get_referrers(*things) if things else ():
        if (
            id(holder) in young
            or holder is things
            or any(holder is mine for mine in ours)
            or type(holder).__name__ in ("frame", "list_iterator", "tuple")
        ):
            continue
        for part in gc.get_referents(holder):
            holders = found.get(id(part))
            if holders is not None and len(holders) < _MOST_REFERRERS and not (holders and holders[-1] is holder):
                holders.append(holder)
    return found


def _in_dict(holder, thing, owners):
    name = next((key for key, value in list(holder.items()) if value is thing and type(key) is str), None)
    module = holder.get("__name__") if "__spec__" in holder else None
    if name is not None and type(module) is str:
        return holder, f"{module}.{name}", kind_of(_text(holder.get("__file__")) or "<frozen>")
    for owner in owners:
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
