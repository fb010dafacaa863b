"""The simulation: whole studies on a clock of our own, the record real, researchers and problems modelled."""
