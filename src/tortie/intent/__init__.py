"""What this node must do, in no data plane's words: the waist that everything above makes and everything below uses."""
