"""Takes send commands, calls the Graph API once for each as fast as Meta allows, and reports what became of it."""
