"""Run folders in object stores: a local working copy of `s3://bucket/study`, pulled, pushed and leased.

address.py    which URLs are accepted, where their working copy lies, secrets in messages
objects.py    named bytes in a store, by fsspec, with retries
lease.py      one driver at a time
listing.py    what a working copy and a store's index hold
snapshots.py  a file's content at one moment, also while it is written
pull.py       the working copy made equal to the store
push.py       the store made equal to the working copy
mirror.py     both for one URL: opened for reading, or driven
"""

from __future__ import annotations

from tracedistill.stores.address import COPIES, copies_are_placed, is_url, run_folder, url_fault, working_copy
from tracedistill.stores.mirror import Mirror, changed, fetched

__all__ = [
    "COPIES",
    "Mirror",
    "changed",
    "copies_are_placed",
    "fetched",
    "is_url",
    "run_folder",
    "url_fault",
    "working_copy",
]
