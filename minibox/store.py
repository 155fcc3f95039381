"""The ordered store."""
