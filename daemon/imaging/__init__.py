"""The imaging wing: the jobs and routes that all back ends share, and a folder for each of them."""
