"""The evaluator: a process of its own with a key of its own, the only one that opens labels."""
