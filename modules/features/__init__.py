"""What metrics compare: features and class probabilities of images."""
