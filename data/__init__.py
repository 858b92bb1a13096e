"""Public data sets, a folder each: whence it comes, what is wrong with it, how to use it."""
