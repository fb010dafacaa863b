"""A/B: workflows compared over problems with real runs, by an analysis stated before the first one."""
