"""Images and datasets: scene files for the profiler, and the paper's datasets by name, from card to batch."""
