"""What flows from room to room: frozen dataclasses, the names of resources, errors. Formats nothing for people."""
