"""How it runs: worker processes, what is said to them, and how they are killed."""
