"""The library: a minibox from Python, blocking (Client) or async (Session)."""
