"""What an owner does with a cluster as a whole."""
