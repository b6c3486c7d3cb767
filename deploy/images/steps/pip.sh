# pip.sh PYTHON ARGUMENTS... : installs locked packages for that Python: no source, nothing that is not locked.
# With the certificates of the machine that builds, where it gave them.
set -eu
python=$1
shift
[ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca
exec /tools/build/bin/python -m pip --python "$python" install --quiet --require-hashes --no-deps --no-compile --only-binary :all: "$@"
