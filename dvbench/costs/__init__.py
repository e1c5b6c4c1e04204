"""Tables 1, 13 and 14 and figures 20 and 21, drawn from counts and from the records of the profiler."""
