"""The base model: the one clean loader, the guard, snapshots, and the embedded tiny base."""
