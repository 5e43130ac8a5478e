"""An application in a container: what the engine is asked for, and the programs on both sides."""
