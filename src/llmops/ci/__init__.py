"""What continuous integration does with a run: comments on pull requests, checks, annotations."""
