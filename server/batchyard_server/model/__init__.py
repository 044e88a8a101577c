"""The words: frozen dataclasses, states, errors, names, limits. Imports nothing else of ours."""
