"""`Record ->` the world: one file, one backend. Importing one imports that backend and no other."""
