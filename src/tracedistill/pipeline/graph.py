"""The mechanics of nodes: what is complete, what changed, what to run, independent of what a stage does."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeGuard

from tracedistill import __version__
from tracedistill.errors import InputError
from tracedistill.files import canonical, content_id, file_hash, locked, read_json, write_json
from tracedistill.output import say
from tracedistill.recipes import LOCAL, Study
from tracedistill.recipes.differences import differences
from tracedistill.records import node_name
from tracedistill.stores import Mirror

StateKind = Literal["complete", "missing", "stale", "damaged"]
Kind = Literal[
    "problems", "teach", "validate", "review", "assemble", "preflight", "trial", "train", "parity", "generate", "score",
    "attribute", "report",
]  # fmt: skip
"""Kinds of nodes, in the order in which they are made."""
STAGE_OF: Mapping[Kind, str] = {
    "problems": "problems", "teach": "teach", "validate": "validate", "review": "assemble", "assemble": "assemble",
    "preflight": "train", "trial": "train", "train": "train", "parity": "evaluate", "generate": "evaluate",
    "score": "evaluate", "attribute": "report", "report": "report",
}  # fmt: skip
"""Kind of node -> its stage, which is also the subcommand that makes it."""
STAGES = tuple(dict.fromkeys(STAGE_OF.values()))
"""Stages in running order; all but the first are subcommands."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "openai", "math-verify")
UNFINISHED = "unfinished"
"""Manifest key: why a node with complete files is made again by the next run (failed calls)."""
PARTS = ".parts"
"""Folder below the run folder for parts of the nodes in progress."""
LOCK_HELD = "TRACEDISTILL_LOCK_HELD"
"""Environment variable of launched processes: the run folder whose lock their parent holds."""
CONFIG_NAME = "TRACEDISTILL_ACCELERATE_CONFIG"
"""Environment variable of launched processes: the name of their accelerate configuration."""
NOT_COMPARED = ("accelerate_config", "launcher")
"""Settings that no result depends on, so that a run folder may continue on other hardware."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the graph: input files, output files, and the settings that its result depends on."""

    kind: Kind
    of: str
    """Its teacher (teach, validate, review), student (preflight, trial), run of an arm (train, parity, generate) or arm
    (score, attribute); empty if it belongs to the whole study."""
    inputs: tuple[str, ...]
    """Files it reads, below the run folder: outputs of other nodes."""
    outputs: tuple[str, ...]
    """Files or folders it writes; the manifest lies beside the first."""
    params: Mapping[str, Any]
    """The slice of the resolved recipe that its result depends on."""
    run: Callable[[], Mapping[str, Any] | None] = field(compare=False)
    """Makes the outputs, each whole or not at all; returns further facts for the manifest."""
    student: str | None = None
    """The student that it loads, if any."""
    sources_below: Path | None = None
    """Base folder of the data files outside the run folder that it reads; the manifest names them relative to it."""
    content: Callable[[], Mapping[str, Mapping[str, Any]]] = field(default=dict, compare=False)
    """Content hashes of what it loads from elsewhere, by name: sha256 and commit of a student's files, if local."""
    launched: bool = False
    """Whether `accelerate launch` runs it, together with the others of its kind, instead of this process."""

    @property
    def name(self) -> str:
        """Display name, also used in manifests: `train:correct.seed1`."""
        return node_name(self.kind, self.of)

    @property
    def stage(self) -> str:
        """Its stage, which is also the subcommand that makes it."""
        return STAGE_OF[self.kind]

    @property
    def manifest(self) -> str:
        """Path of the manifest below the run folder."""
        return f"{self.outputs[0].rstrip('/')}.manifest.json"


@dataclass(frozen=True, slots=True)
class NodeState:
    """State of a node."""

    kind: StateKind
    """complete: nothing to do; damaged: an output is not what its stage wrote."""
    reason: str = ""
    """What is missing or has changed."""


class RunFolder:
    """A run folder: its identity, its lock and its manifests."""

    def __init__(self, folder: Path, study: str, mirror: Mirror | None = None) -> None:
        self.folder = folder
        self.study = study
        self._mirror = mirror
        """The store that this folder is the working copy of; None: the folder is the run folder itself."""

    @property
    def identity(self) -> str:
        """Return what names the run folder on this machine; for one in a store, on every machine."""
        return str(self.folder.resolve()) if self._mirror is None else self._mirror.url

    def path(self, name: str) -> Path:
        """Return a file below the run folder."""
        return self.folder / name

    def claim(self) -> None:
        """Create the folder, or check that it belongs to this study.

        Raises InputError otherwise; nothing is overwritten.
        """
        identity = self.path("study.json")
        if identity.exists():
            owner = read_json(identity).get("study")
            if owner != self.study:
                raise InputError(
                    f"{self.folder}: holds the run of study '{owner}', not of '{self.study}'; set another run_dir"
                )
            if not os.access(self.folder, os.W_OK):
                raise InputError(f"{self.folder}: cannot be written; set another run_dir")
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise InputError(f"{self.folder}: is not empty and not a run folder; set another run_dir")
        write_json(identity, {"study": self.study, "tracedistill": __version__})

    @contextmanager
    def lock(self, *, wait: bool = False) -> Iterator[None]:
        """Lock the run folder against a second run; one in a store is kept up to date there while the block lasts.

        Raises InputError if it is locked and `wait` is not set, and if a run on another machine has it.
        """
        if os.environ.get(LOCK_HELD) == str(self.folder.resolve()):
            yield
            return
        busy = f"{self.folder}: another tracedistill run is using this folder; wait until it ends"
        warn = functools.partial(say, f"{self.folder}: waiting for another tracedistill run in this folder")
        say_so = functools.partial(warn, file=sys.stderr) if wait else None
        with (
            locked(self.path(".lock"), busy, say_so),
            self._mirror.driven() if self._mirror is not None else contextlib.nullcontext(),
        ):
            yield

    def publish(self) -> None:
        """Send what is complete to the store, if the run folder is in one. Raises InputError if another run has it."""
        if self._mirror is not None:
            self._mirror.publish()

    def state(self, node: Node) -> NodeState:
        """Compare a node's manifest with its outputs, inputs and settings."""
        path = self.path(node.manifest)
        gone = [name for name in node.outputs if not self.path(name).exists()]
        if not path.exists() or gone:
            return NodeState(
                "missing",
                f"no {gone[0]}" if gone else f"{node.outputs[0]} is incomplete, or was written by another command",
            )
        manifest = read_json(path)
        change = next(differences(_compared(manifest.part("params")), _compared(_plain(node.params))), None)
        if change is not None:
            return NodeState("stale", _in_words(*change))
        for name, known in (manifest.part("sources") if "sources" in manifest else {}).items():
            path = Path(name) if node.sources_below is None else node.sources_below / name
            if not path.is_file():
                return NodeState("stale", f"data file {name} is missing")
            if not _is_content(known) or not _unchanged(path, known):
                return NodeState("stale", f"data file {name} has changed")
        loaded = node.content() if "content" in manifest else {}
        for name, known in manifest.get("content", {}).items():
            if name in loaded and loaded[name]["sha256"] != known["sha256"]:
                return NodeState("stale", f"the files of {name} have changed")
        for name in node.inputs:
            if not self.path(name).exists():
                return NodeState("stale", f"input {name} is missing")
            if self.hash_of(name) != manifest.part("inputs").get(name):
                return NodeState("stale", f"input {name} has changed")
        for name in node.outputs:
            known = manifest.part("outputs").get(name)
            if not _is_content(known):
                return NodeState("stale", f"its manifest does not describe {name}")
            if not _unchanged(self.path(name), known):
                return NodeState("damaged", f"{name} was changed after its stage wrote it; delete it to make it again")
        if manifest.get(UNFINISHED):
            return NodeState("stale", str(manifest[UNFINISHED]))
        return NodeState("complete")

    def is_complete(self, node: Node) -> bool:
        """Return whether a node needs nothing done."""
        return self.state(node).kind == "complete"

    def incomplete(self, nodes: Iterable[Node]) -> list[Node]:
        """Return the nodes that are still to be made."""
        return [node for node in nodes if not self.is_complete(node)]

    def parts(self, node: Node) -> Path:
        """Return the folder for parts of a node's outputs, named after its inputs and settings; remove others."""
        present = [name for name in node.inputs if self.path(name).exists()]  # the node itself reports missing inputs
        made_from = content_id(__version__, _plain(node.params), {name: self.hash_of(name) for name in present})
        name = node.name.replace(":", ".")
        folder = self.path(PARTS) / f"{name}.{made_from}"
        for other in self.path(PARTS).glob(f"{glob.escape(name)}.{'[0-9a-f]' * len(made_from)}"):
            if other != folder:
                discard(other)
        return folder

    def discard_parts(self, node: Node) -> None:
        """Remove the parts of a node that is complete."""
        discard(self.parts(node))
        with contextlib.suppress(OSError):  # other nodes' parts may be there
            self.path(PARTS).rmdir()

    def record(self, node: Node, seconds: float, facts: Mapping[str, Any]) -> None:
        """Write the node's manifest, which marks it as complete.

        `facts`: what the run as a whole adds to the node's own settings: recipe, data ids, template hash.
        """
        outputs = {name: _content(self.path(name)) for name in node.outputs}
        loaded = node.content()
        write_json(
            self.path(node.manifest),
            {
                "node": node.name,
                "params": _plain(node.params),
                "inputs": {name: self.hash_of(name) for name in node.inputs},
                "outputs": outputs,
                **({"content": loaded} if loaded else {}),
                "seconds": round(seconds, 3),
                "peak_memory_bytes": peak_memory(),
                "tracedistill": __version__,
                "python": sys.version.split()[0],
                "libraries": versions(),
                **facts,
            },
        )

    def hash_of(self, name: str) -> str:
        """Return the content hash of an input, from its maker's manifest if that is still valid."""
        path = self.path(f"{name.rstrip('/')}.manifest.json")
        if path.exists():
            known = read_json(path).part("outputs").get(name)
            if _is_content(known) and _stamp(self.path(name)) == {key: known[key] for key in ("bytes", "mtime_ns")}:
                return str(known["sha256"])
        return file_hash(self.path(name))


def open_run_folder(study: Study, say: Callable[[str], object]) -> RunFolder:
    """Return a study's run folder; one in a store is fetched into its working copy first.

    Folders for a cluster have their full path.
    """
    if study.store is None:
        return RunFolder(study.folder if study.compute == LOCAL else study.folder.resolve(), study.study)
    mirror = Mirror(study.store, say)
    folder = mirror.folder.resolve()
    if os.environ.get(LOCK_HELD) != str(folder) and study.training.launcher.machine_rank == 0:
        mirror.refresh()
    return RunFolder(folder, study.study, mirror)


def stamped(files: Iterable[Path], below: Path | None) -> dict[str, dict[str, Any]]:
    """Return the manifest entries of data files by name, relative to a folder (absolute if elsewhere)."""
    hashes = {}
    for path in files:
        inside = below is not None and path.resolve().is_relative_to(below.resolve())
        name = path.resolve().relative_to(below.resolve()) if inside and below is not None else path.resolve()
        hashes[name.as_posix()] = _content(path)
    return hashes


def peak_memory() -> int:
    """Return the largest resident set of this process or any child so far, in bytes."""
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(usage) * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """Return the installed versions of libraries that results depend on."""
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def discard(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def upstream(nodes: Sequence[Node], wanted: Iterable[Node]) -> list[Node]:
    """Return the wanted nodes and all that they need, in the graph's order."""
    maker = {name: node for node in nodes for name in node.outputs}
    needed: set[str] = set()
    queue = list(wanted)
    while queue:
        node = queue.pop()
        if node.name not in needed:
            needed.add(node.name)
            queue += [maker[name] for name in node.inputs if name in maker]  # files from outside have no maker
    return [node for node in nodes if node.name in needed]


def needed_by(nodes: Sequence[Node], wanted: Iterable[Node]) -> list[Node]:
    """Return all that the wanted nodes need, without these themselves."""
    wanted = list(wanted)
    names = {node.name for node in wanted}
    return [node for node in upstream(nodes, wanted) if node.name not in names]


def _content(path: Path) -> dict[str, Any]:
    """Return the manifest's entry for a file or folder: its hash, and a stamp that saves hashing it again."""
    return {"sha256": file_hash(path), **_stamp(path)}


def _is_content(known: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a manifest's entry for a file was written by `_content`."""
    return isinstance(known, dict) and {"sha256", "bytes", "mtime_ns"} <= known.keys()


def _unchanged(path: Path, known: Mapping[str, Any]) -> bool:
    stamp = _stamp(path)
    return stamp == {key: known[key] for key in stamp} or file_hash(path) == known["sha256"]


def _stamp(path: Path) -> dict[str, int]:
    """Return size and modification time, a cheap sign of unchanged content; summed over a folder."""
    files = [path] if path.is_file() else sorted(child for child in path.rglob("*") if child.is_file())
    stats = [file.stat() for file in files]
    return {
        "bytes": sum(stat.st_size for stat in stats),
        "mtime_ns": max((stat.st_mtime_ns for stat in stats), default=0),
    }


def _plain(value: Any) -> Any:
    import json

    return json.loads(canonical(value))


def _compared(settings: Any) -> Any:
    """Return settings without those that no result depends on."""
    if not isinstance(settings, dict):
        return settings
    return {key: _compared(value) for key, value in settings.items() if key not in NOT_COMPARED}


def _in_words(key: str, before: Any, now: Any) -> str:
    """Describe a changed setting."""
    shown = [text if len(text) <= 60 else f"{text[:57]}..." for text in (str(before), str(now))]
    return f"{key} was {shown[0]}, is {shown[1]}"


class Clock:
    """Seconds of one node; a launched process counts from its launch.

    The monotonic clock is shared by all processes and unaffected by changes of the time of day.
    """

    STARTED = "TRACEDISTILL_LAUNCHED_AT"

    def __init__(self) -> None:
        launched = os.environ.pop(self.STARTED, None)
        self.start = time.monotonic() if launched is None else float(launched)

    def seconds(self) -> float:
        """Return seconds since the start."""
        return time.monotonic() - self.start
