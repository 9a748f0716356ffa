"""What a run shows: pictures, curves, pages, tables."""
