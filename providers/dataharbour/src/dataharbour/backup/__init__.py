"""Recovery points: what they hold, how they are kept, which of them stay."""
