"""Images and labels: from files to samples and targets, and from predictions to files."""
