"""Other trainers. These modules run in environments of their own, without our packages."""
