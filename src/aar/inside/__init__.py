"""Inside: what is mounted in a researcher's sandbox and in an official run; everything here is a claim."""
