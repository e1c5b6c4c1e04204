"""What a model costs: exact counters, latency, memory, and the sweep that puts them into records."""
