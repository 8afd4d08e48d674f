"""Settings of a head tried out on stored features: the space, what a trial leaves, who proposes, and the pictures."""
