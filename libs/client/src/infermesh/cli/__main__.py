"""`python -m infermesh.cli`, where the `infermesh` script is not on the path."""

from infermesh.cli import main

main()
