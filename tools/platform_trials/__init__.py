"""Trials between legs: encode on one platform, decode on another, count, compare, report."""

from platform_trials.markdown import markdown_from_result
from platform_trials.matrix import run_matrix
from platform_trials.picture import draw_matrix
from platform_trials.plan import MatrixPlan
from platform_trials.results import MatrixResult

__all__ = ["MatrixPlan", "MatrixResult", "draw_matrix", "markdown_from_result", "run_matrix"]
