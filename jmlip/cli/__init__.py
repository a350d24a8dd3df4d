"""Commands: thin layers over the library, one file each."""
