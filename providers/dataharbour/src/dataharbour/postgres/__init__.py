"""PostgreSQL servers of our own: where the binaries are, and clusters made with them."""
