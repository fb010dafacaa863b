"""The command line: run, watch, verify, review."""
