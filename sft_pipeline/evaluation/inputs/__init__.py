"""What people bring to an evaluation: outputs, items, human labels."""
