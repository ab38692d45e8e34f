"""Stacks: the frames of running, suspended and allocating code, and whose code each frame is."""

import os
import site
import sys
import sysconfig

_HERE = os.path.dirname(os.path.realpath(__file__))
_MAX_FRAMES = 40
"""Frames of one stack."""
_LOOP_FUNCTIONS = ("_run", "_run_once", "run", "run_forever", "run_until_complete")
_LOOP_FILES = tuple(
    os.path.join(*parts)
    for parts in (
        ("asyncio", "events.py"),
        ("asyncio", "base_events.py"),
        ("asyncio", "runners.py"),
        ("uvloop", "__init__.py"),
    )
)


def _library_roots():
    paths = sysconfig.get_paths()
    third_party = [paths.get("purelib"), paths.get("platlib")]
    try:
        third_party += [*site.getsitepackages(), site.getusersitepackages()]
    except Exception:
        pass
    stdlib = [paths.get("stdlib"), paths.get("platstdlib"), os.path.dirname(os.__file__)]
    return _real(third_party), _real(stdlib)


def _real(paths):
    return tuple({os.path.realpath(path) + os.sep for path in paths if path})


_THIRD_PARTY, _STDLIB = _library_roots()
_USER = _real(os.environ.get("LEAKLINE_CODE", "").split(os.pathsep))
_kinds = {}
"""{file name: kind}, as `kind_of` has found them."""


def count_as_own(directories):
    """Count the files in these directories as the user's own code, though they may lie in site-packages."""
    global _USER
    _USER += _real(directories)
    _kinds.clear()


def kind_of(filename):
    """Whose code `filename` is: "user", "library" (third-party), "stdlib" or "agent"."""
    kind = _kinds.get(filename)
    if kind is None:
        kind = _kinds[filename] = _classify(filename)
    return kind


def _classify(filename):
    if filename.startswith("<"):
        return "stdlib" if filename.startswith("<frozen") else "library"
    path = os.path.realpath(filename)
    if path.startswith(_HERE + os.sep):
        return "agent"
    if _USER and path.startswith(_USER):
        return "user"
    # Checked first, since site-packages lies inside the standard library's directory.
    if path.startswith(_THIRD_PARTY) or f"{os.sep}site-packages{os.sep}" in path:
        return "library"
    return "stdlib" if path.startswith(_STDLIB) else "user"


def stack(frame):
    """The frames from `frame` outwards to the event loop, innermost first, as (code, instruction's offset) pairs.

    The line is looked up later, for survivors only (`describe`): `f_lineno` decodes the code's line table from its
    start, which would cost more than the rest of this function.
    """
    found = []
    while frame is not None and len(found) < _MAX_FRAMES:
        code = frame.f_code
        kind = kind_of(code.co_filename)
        if code.co_name in _LOOP_FUNCTIONS and code.co_filename.endswith(_LOOP_FILES):
            break  # the frames further out started the event loop; they are the same for everything that runs in it
        if kind != "agent":
            found.append((code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def up_to_loop(frames):
    """`frames`, (function, file, line) tuples with the innermost first, up to the event loop's."""
    found = []
    for function, file, line in frames:
        if function in _LOOP_FUNCTIONS and file.endswith(_LOOP_FILES):
            break
        found.append((function, file, line))
    return tuple(found)


def suspended(coroutine):
    """Where a coroutine waits: its frame and those of the coroutines it awaits, innermost first, as in `stack`."""
    found = []
    while coroutine is not None and len(found) < _MAX_FRAMES:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and kind_of(frame.f_code.co_filename) != "agent":
            found.append((frame.f_code, frame.f_lasti))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return tuple(reversed(found))


def has_user_frame(pairs):
    """Whether any of the (code, instruction) pairs is of the user's own code."""
    return any(kind_of(code.co_filename) == "user" for code, _ in pairs)


def caller_stack():
    """The stack of the caller of the agent's hook, which calls this."""
    return stack(sys._getframe(2))


def allocation_stack(traceback):
    """The (file, line) frames of a tracemalloc traceback, innermost first, up to the event loop.

    None when the agent allocated. Its hooks (recorder.py) are between frames of the SUT's stacks: they are left out.
    """
    found = []
    for frame in reversed(traceback):
        filename = frame.filename
        if kind_of(filename) == "agent":
            if not found or not filename.endswith("recorder.py"):
                return None
            continue
        # Of events.py only Handle._run calls the SUT's code; runners.py and uvloop call it to start a loop.
        if found and filename.endswith(_LOOP_FILES) and not filename.endswith("base_events.py"):
            break
        found.append((filename, frame.lineno))
    return tuple(found)


def describe(pairs):
    """(code, instruction) pairs as JSON: [{"file", "line", "function": qualified name, "kind": as of `kind_of`}]."""
    return [
        {
            "file": code.co_filename,
            "line": _line_of(code, instruction),
            "function": code.co_qualname,
            "kind": kind_of(code.co_filename),
        }
        for code, instruction in pairs
    ]


def described(frame):
    """A (file, line) frame as JSON, as in `describe`; the function is "", since tracemalloc does not record it."""
    filename, line = frame
    return {"file": filename, "line": line, "function": "", "kind": kind_of(filename)}


def _line_of(code, instruction):
    """The line of an instruction; of one that has none, as a handler begins from Python 3.12 on, the next line."""
    for _, end, line in code.co_lines():
        if instruction < end and line is not None:
            return line
    return code.co_firstlineno
