"""The network, the costs that it predicts, and the cut that turns them into segments."""
