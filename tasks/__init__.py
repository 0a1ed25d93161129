"""What is done to a title: one module a stage, each a plain function, with the parts they share in sub-packages."""
