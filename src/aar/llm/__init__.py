"""Language models as researchers: loop, key and transcript outside the sandbox, their tools inside it."""
