"""The router: one decision per send request, one life per message, windows and conversations; conversation events in, commands and events out."""
