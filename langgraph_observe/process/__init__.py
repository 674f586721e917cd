"""`Record -> Record | None`, pure, in the order given."""
