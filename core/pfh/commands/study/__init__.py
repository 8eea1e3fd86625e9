"""The study: a file of runs, its plan, its execution, and one report over all of it."""
