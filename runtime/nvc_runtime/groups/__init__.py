"""Groups of pictures side by side: coded in several processes, each with an engine of its own.

Nothing in a group refers to what is before it, so that as many groups can be coded at a time as
there are processors. Frames and packets keep their order, and so do errors.
"""

from nvc_runtime.groups.coding import decoding_in_processes, encoding_in_processes
from nvc_runtime.groups.jobs import check_jobs, jobs_for, useful_jobs
from nvc_runtime.groups.pool import GroupPool

__all__ = [
    "GroupPool",
    "check_jobs",
    "decoding_in_processes",
    "encoding_in_processes",
    "jobs_for",
    "useful_jobs",
]
