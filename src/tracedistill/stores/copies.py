"""A working copy's own files: the run folder, and beside it what the copy remembers and files on their way."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from tracedistill.files import disk_error
from tracedistill.stores.address import checked_url, working_copy
from tracedistill.stores.listing import CopyState, read_state, write_state


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """The local folder of a run folder in a store."""

    url: str
    folder: Path
    """The run folder."""

    @classmethod
    def of(cls, url: str) -> WorkingCopy:
        """Return the working copy of a URL. Raises InputError if it cannot name a run folder."""
        return cls(checked_url(url), working_copy(url))

    @property
    def beside(self) -> Path:
        """The folder around it, with what belongs to this machine alone."""
        return self.folder.parent

    @property
    def lock(self) -> Path:
        """Lock of whoever pulls or drives."""
        return self.beside / "copy.lock"

    def state(self) -> CopyState:
        """Return what the copy remembers; a new one gets its name."""
        return read_state(self.beside / "state.json", self.url) or CopyState(self.url, secrets.token_hex(8))

    def keep(self, state: CopyState) -> None:
        """Keep what the copy remembers."""
        write_state(self.beside / "state.json", state)

    def scratch(self, name: str) -> Path:
        """Return an emptied folder for files on their way."""
        folder = self.beside / name
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(folder, error) from error
        return folder
