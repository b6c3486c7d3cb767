# dependencies.sh LOCK... : /venv with what is locked there, without what no service uses, and compiled.
set -eu
python -m venv --without-pip /venv
for lock; do
    sh /tools/pip.sh /venv/bin/python -r "$lock"
done
site=/venv/lib/python3.11/site-packages
python /tools/slim.py $site
# Programs of the packages; the links to Python stay.
find /venv/bin -type f -delete
# The time of a file does not say whether it is compiled: copies have other times.
/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash $site
