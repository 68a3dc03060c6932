"""Passes over a graph as PyTorch exports it: constants folded, nodes that do nothing left out.

PyTorch's own choice of passes has a rule with two outputs, whose matcher lists all nodes of a graph
anew at every node: minutes for a graph of thousands of nodes, in which it never found anything.
These are the same passes without it, and without rules for operators that codecs do not have.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewriteRule, rewrite
from onnxscript.rewriter.rules.common import (
    add_0_rule,
    cast_cast_rule,
    collapse_slice2_rule,
    collapse_slice_rule,
    div_by_1_rule,
    materialize_reshape_shape_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    no_op_expand_rule,
    no_op_transpose_rule,
    remove_optional_bias_from_conv_rule,
    reshape_reshape_rule,
    squeeze_reshape_1d_rule,
    sub_0_rule,
    transpose_transpose_rule,
    unsqueeze_unsqueeze_rule,
)

_BOUNDS: Final = ("starts", "ends", "axes", "steps")


def _slice_of_slice(
    op: Any,
    x: Any,
    starts: Any,
    ends: Any,
    axes: Any,
    steps: Any,
    starts_2: Any,
    ends_2: Any,
    axes_2: Any,
    steps_2: Any,
) -> Any:
    return op.Slice(op.Slice(x, starts, ends, axes, steps), starts_2, ends_2, axes_2, steps_2)


def _along_other_axes(_context: Any, x: Any, **bounds: Any) -> bool:
    """Whether all bounds are known, and the slices along different axes."""
    del x
    if any(value.const_value is None for value in bounds.values()):
        return False
    first, second = (bounds[name].const_value.numpy() for name in ("axes", "axes_2"))
    return min(first.min(), second.min()) >= 0 and not np.intersect1d(first, second).size


def _slice_once(op: Any, x: Any, **bounds: Any) -> Any:
    pairs = ((bounds[name], bounds[f"{name}_2"]) for name in _BOUNDS)
    joined = (np.concatenate([value.const_value.numpy() for value in pair]) for pair in pairs)
    return op.Slice(x, *(op.Constant(value=ir.tensor(values)) for values in joined))


join_slices_rule: Final = RewriteRule(_slice_of_slice, _slice_once, _along_other_axes)
"""A slice of a slice along another axis copies once."""

RULES: Final = (
    *mul_by_1_rule.commute(),
    *add_0_rule.commute(),
    sub_0_rule,
    div_by_1_rule,
    collapse_slice_rule,
    collapse_slice2_rule,
    join_slices_rule,
    materialize_reshape_shape_rule,
    cast_cast_rule,
    no_op_cast_rule,
    no_op_expand_rule,
    reshape_reshape_rule,
    squeeze_reshape_1d_rule,
    no_op_transpose_rule,
    transpose_transpose_rule,
    unsqueeze_unsqueeze_rule,
    remove_optional_bias_from_conv_rule,
)
ROUNDS: Final = 2
"""What folding leaves, rules may match, and the other way round."""
LARGEST_FOLDED: Final = 1 << 18
"""Elements of a constant that a node is worked out for: a layer's selected weights, no more."""


def fold_all_constants(model: ir.Model) -> None:
    """Work out, in place, whatever depends on constants alone, and store it as initializers."""
    common.InlinePass()(model)
    fold_constants(
        model,
        onnx_shape_inference=False,
        input_size_limit=sys.maxsize,
        output_size_limit=sys.maxsize,
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


def simplify(model: ir.Model) -> None:
    """Simplify a model in place; no node that is left computes anything else."""
    common.InlinePass()(model)
    for _ in range(ROUNDS):
        fold_constants(
            model,
            onnx_shape_inference=True,
            input_size_limit=LARGEST_FOLDED,
            output_size_limit=LARGEST_FOLDED,
        )
        rewrite(model, RULES)
    ir.passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)
