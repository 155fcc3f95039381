"""The coordinator: who may do what, what it is called, and where its chunks are."""
