# What builds: /tools/build makes wheels, /tools/sbom writes bills of materials. Neither gets into an image.
set -eu
python -m venv /tools/build
sh /tools/pip.sh /tools/build/bin/python -r /tools/build.lock
python -m venv --without-pip /tools/sbom
sh /tools/pip.sh /tools/sbom/bin/python -r /tools/requirements-sbom.lock
