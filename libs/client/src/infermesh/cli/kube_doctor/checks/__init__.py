"""One idea a module: each looks at a release and yields what is wrong with it."""
