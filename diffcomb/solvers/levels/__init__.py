"""What a level is made of: costs, labellings, partitions of its nodes, and the slack that local moving leaves."""
