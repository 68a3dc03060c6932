"""Keep of a training state what the next run needs to go on: averaged weights in FP16.

    python tools/slim_checkpoint.py RUN/state.safetensors -o models/weights/NAME.safetensors

The optimiser's moments, two thirds of a state, are left out: they are rebuilt within a few hundred
steps. The result loads like any checkpoint (``nvc-export bundle``, ``nvc-export train --resume``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nvc_models.training import checkpoint


def main() -> None:
    """Parse arguments and write the slim checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    state = checkpoint.load(arguments.state)
    weights = state.section("ema") or state.section("model")
    slim = {f"model.{name}": tensor.half() for name, tensor in weights.items()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(arguments.output, checkpoint.Checkpoint(slim, state.metadata))


if __name__ == "__main__":
    main()
