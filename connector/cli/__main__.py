"""``python -m connector.cli``: the same as ``onecard``."""

from connector.cli.main import main

main()
