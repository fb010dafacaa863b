"""Outside the wall: the processes that hold keys, labels and the record."""
