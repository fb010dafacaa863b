"""The gateway: the one door between a sandbox and the record, and the keeper of its order."""
