"""Speed and memory beside what else there is: `python -m benchmarks`, a file a subject."""
