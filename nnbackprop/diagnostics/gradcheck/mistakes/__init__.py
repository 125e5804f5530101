"""The name, cause and fix of the mistake behind a wrong gradient."""
