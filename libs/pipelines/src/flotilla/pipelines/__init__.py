"""
Pipelines: capabilities made of steps. What a file means, what of a run comes next, and which class its data has; no I/O.

Read a file with `reading.read_pipeline`, run it with `planner.Planner`, see what is wrong with it with `check`.
"""
