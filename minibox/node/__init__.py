"""A node: immutable chunks on local disks."""
