# Nothing that is imported is missing in /venv; what is in it is written down in /image.
set -eu
/venv/bin/python /tools/check.py /venv/lib/python3.11/site-packages
mkdir -p /image/usr/share/infermesh /image/usr/local/bin
/tools/sbom/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
    --output-file /image/usr/share/infermesh/sbom.cdx.json /venv/bin/python
