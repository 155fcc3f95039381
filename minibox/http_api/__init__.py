"""The HTTP protocol of the coordinator: routes, headers and problems, for both of its sides."""
