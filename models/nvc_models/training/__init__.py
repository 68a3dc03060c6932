"""Training of the codec families: data, schedule, losses, loop, checkpoints."""
