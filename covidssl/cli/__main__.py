"""`python -m covidssl.cli` is `covidssl`."""

from covidssl.cli import main

if __name__ == "__main__":
    main()
