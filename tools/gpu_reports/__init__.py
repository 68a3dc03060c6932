"""What `gpu_report.py` is made of: prepared streams, engines, measurements, and who runs them."""

from gpu_reports.driver import Plan, run_items
from gpu_reports.engines import open_reported
from gpu_reports.markdown import markdown_from_record
from gpu_reports.prepared import Prepared, load_prepared, prepare_stream
from gpu_reports.worker import WORKER_FLAG, serve

__all__ = [
    "WORKER_FLAG",
    "Plan",
    "Prepared",
    "load_prepared",
    "markdown_from_record",
    "open_reported",
    "prepare_stream",
    "run_items",
    "serve",
]
