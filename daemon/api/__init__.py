"""The control plane: HTTP and WebSocket in front of the services."""
