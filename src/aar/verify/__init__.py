"""The verifier: from public bytes and public keys to a verdict; standard library and PyNaCl only."""
