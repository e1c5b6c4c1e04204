"""Images and datasets: scene files for the profiler and the embedded tree-crown sample."""
