"""Heap snapshots of V8: the bytes that objects retain, and the names of their retainers.

The format is V8's own (`v8/src/profiler/heap-snapshot-generator.cc`; Chrome DevTools read the same): nodes and edges
are flat lists of numbers, and the file names their fields. A node's id is the same in every snapshot of a process,
and newer objects have higher ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_WEAK = ("weak",)
"""Types of edges that do not keep their target alive."""
_NAMELESS = ("hidden", "internal", "shortcut", "weak")
"""Types of edges whose names are V8's own, not of the program."""
_MAX_STEPS = 2_000
"""Nodes that a search for a name looks at."""
_NODE_INTERNALS = ("resourceTimingBuffer", "resourceTimingSecondaryBuffer")
"""Arrays of Node's `lib/internal/perf/observe.js` that get an entry for each `fetch`, up to 250: no leak.

Other containers of Node's own have symbols for names, and are left out by that.
"""


class SnapshotError(Exception):
    """A file is not a readable heap snapshot."""


class Snapshot:
    """One heap snapshot, read from a file. Raises SnapshotError."""

    def __init__(self, path: Path) -> None:
        try:
            raw = orjson.loads(path.read_bytes())
            meta = raw["snapshot"]["meta"]
            self._strings: list[str] = raw["strings"]
            self._node_fields: list[str] = meta["node_fields"]
            self._edge_fields: list[str] = meta["edge_fields"]
            self._edge_types: list[str] = meta["edge_types"][0]
            self._node_types: list[str] = meta["node_types"][0]
            self._nodes: Ints = np.array(raw["nodes"], dtype=np.int64).reshape(-1, len(self._node_fields))
            self._edges: Ints = np.array(raw["edges"], dtype=np.int64).reshape(-1, len(self._edge_fields))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise SnapshotError(f"{path.name}: {error!r}") from None
        self.ids = self._node_column("id")
        self.sizes = self._node_column("self_size")
        self._index_of = {int(value): index for index, value in enumerate(self.ids)}
        counts = self._node_column("edge_count")
        self._first_edge = np.concatenate(([0], np.cumsum(counts)))
        self._targets = self._edges[:, self._edge_fields.index("to_node")] // len(self._node_fields)
        self._kinds = self._edges[:, self._edge_fields.index("type")]
        self._weak = np.isin(self._kinds, [self._edge_types.index(k) for k in _WEAK if k in self._edge_types])

    def _node_column(self, name: str) -> Ints:
        return self._nodes[:, self._node_fields.index(name)]

    @property
    def newest(self) -> int:
        """The highest id of an object of V8's; objects created later have higher ones.

        V8's ids are odd. Those of an embedder's objects (Node's native ones) are even, and are in no order.
        """
        return int(self.ids[self.ids % 2 == 1].max(initial=0))

    def _are_new(self, since: int) -> NDArray[np.bool_]:
        new: NDArray[np.bool_] = (self.ids > since) & (self.ids % 2 == 1)
        return new

    def retained_bytes(self, roots: Iterable[int], since: int, claimed: set[int]) -> int:
        """Bytes reached from the nodes with the ids `roots` through nodes with ids above `since`.

        Nodes in `claimed` (by index) are not counted; the counted ones are added to it.
        """
        total, new = 0, self._are_new(since)
        stack = [self._index_of[root] for root in roots if root in self._index_of]
        while stack:
            node = stack.pop()
            if node in claimed or not new[node]:
                continue
            claimed.add(node)
            total += int(self.sizes[node])
            first, last = self._first_edge[node], self._first_edge[node + 1]
            stack += self._targets[first:last][~self._weak[first:last]].tolist()
        return total

    def owner(self, node_id: int) -> str:
        """The name of an object's retainer: `Carts.carts`, or a variable's name; empty if there is none.

        It is made of the nearest named edge on a way to the roots, and the class of the node that has this edge.
        """
        node = self._index_of.get(node_id)
        seen: set[int] = set()
        frontier = [node] if node is not None else []
        for _ in range(_MAX_STEPS):
            if not frontier:
                return ""
            current = frontier.pop(0)
            if current in seen:
                continue
            seen.add(current)
            for retainer, kind, name in self._retainers(current):
                if kind == "context":
                    return name
                if kind == "property" and name not in ("__proto__", "map", "prototype"):
                    retainer_name = self._name(retainer)
                    return f"{retainer_name}.{name}" if retainer_name not in ("Object", "") else name
                frontier.append(retainer)
        return ""

    def _retainers(self, node: int) -> list[tuple[int, str, str]]:
        """(retainer's index, type of edge, name) of the strong edges to `node`, those with a name first."""
        edges = np.flatnonzero((self._targets == node) & ~self._weak)
        found = []
        for edge in edges.tolist():
            kind = self._edge_types[self._kinds[edge]]
            label = int(self._edges[edge, self._edge_fields.index("name_or_index")])
            name = "" if kind in ("element", "hidden") else self._strings[label]
            retainer = int(np.searchsorted(self._first_edge, edge, side="right")) - 1
            found.append((retainer, kind, name))
        return sorted(found, key=lambda each: each[1] in (*_NAMELESS, "element"))

    def _name(self, node: int) -> str:
        return self._strings[int(self._nodes[node, self._node_fields.index("name")])]


def read(answer: dict[str, Any], files: Mapping[str, Path], ids: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A Node agent's survey with what the snapshots add: retained bytes, and the names of containers that grew.

    `files` are the heap snapshots `before` and `after` the trace window, and are deleted; `ids` the heap ids of a
    row's objects, by the row's "index". Without both snapshots no container is named. Raises SnapshotError.
    """
    try:
        if not {"before", "after"} <= files.keys():
            return {**answer, "containers": []}
        before, after = Snapshot(files["before"]), Snapshot(files["after"])
    finally:
        for file in files.values():
            file.unlink(missing_ok=True)
    claimed: set[int] = set()
    resources = {
        name: [
            {
                **row,
                "retained_bytes": after.retained_bytes(ids[row["index"]], before.newest, claimed)
                if "index" in row
                else 0,
            }
            for row in rows
        ]
        for name, rows in answer["resources"].items()
    }
    grown = [
        {"owner": owner, "grown": each["grown"], "code": "user"}
        for each in answer.get("containers", [])
        if (owner := after.owner(each["id"])) and "<symbol" not in owner and owner not in _NODE_INTERNALS
    ]
    return {**answer, "resources": resources, "containers": grown}
