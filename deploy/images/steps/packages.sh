# packages.sh NAME : /packages with the workspace's package of that name and those of the workspace that it needs.
set -eu
python /tools/workspace.py /source "$1" > /tools/folders
xargs /tools/build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheels < /tools/folders
/tools/build/bin/pip install --quiet --no-deps --no-index --no-compile --target /packages /wheels/*.whl
# Where the wheels were while the image was built.
rm -f /packages/*.dist-info/direct_url.json
python /tools/slim.py /packages
python -m compileall -q --invalidation-mode unchecked-hash -s /packages -p /venv/lib/python3.11/site-packages /packages
