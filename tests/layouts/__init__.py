"""Small data in the real layout of each format, for tests: `write(root, ...)` in a module a format."""
