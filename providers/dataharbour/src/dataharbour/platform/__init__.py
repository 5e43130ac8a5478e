"""The embedded platform: installs, configures, supervises and reports its services."""
