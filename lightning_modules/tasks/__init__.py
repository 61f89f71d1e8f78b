"""Tasks: what an answer is, how it is scored, and what `predict` writes."""
