"""Tools that know nothing of video: configuration, command lines, files, logging, downloads, Paddle's start-up."""
