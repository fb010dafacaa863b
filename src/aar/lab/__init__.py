"""The lab: weak-to-strong experiments as a library; a sandbox sees it, labels are never in it."""
