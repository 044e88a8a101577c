"""What did the operator ask for? Flags, environment, handlers file → frozen, checked values."""
