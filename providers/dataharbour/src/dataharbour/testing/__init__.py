"""Stand-ins and settings for tests of DAGs and jobs; they ship with the package."""
