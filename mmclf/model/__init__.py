"""The towers, the head, and the features between them."""
