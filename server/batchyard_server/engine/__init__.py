"""The meaning: one short file per verb. Knows the store, never the wire, never who runs what."""
