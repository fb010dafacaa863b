"""A witness: cosigns a checkpoint only if it extends the last one it saw."""
