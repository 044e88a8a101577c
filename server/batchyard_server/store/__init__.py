"""Where it is kept: the Store protocols, and a driver per folder."""
