# Fills in Envoy's bootstrap: FOLDER-OF-PARAMETERS FOLDER-OF-BOOTSTRAP. Of several files of
# parameters the later ones, by name, win.
import sys
from pathlib import Path

import yaml

from infermesh_envoy.errors import ParameterError
from infermesh_envoy.parameters import parameters_from
from infermesh_envoy.render import write

source, target = map(Path, sys.argv[1:])
values: dict[str, object] = {"sds_path": str(target)}
for file in sorted(source.glob("*.yaml")):
    values |= yaml.safe_load(file.read_text("utf-8")) or {}
try:
    write(parameters_from(values), target)
except ParameterError as error:
    sys.exit("\n".join(error.problems))
