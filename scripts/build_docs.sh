#!/usr/bin/env bash
# Makes the documents a site in both languages, with a search that works offline: build/docs/index.html. It has an
# environment of its own, .venv-docs, which is made if missing; with ZOO_VENV=none it takes the Python that is active.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=python
if [ "${ZOO_VENV:-}" != none ]; then
  python=.venv-docs/bin/python
  [ -x $python ] || "${PYTHON:-python3}" -m venv .venv-docs
  $python -m pip install -q --disable-pip-version-check -r requirements/docs.txt
fi
out=build/docs
$python docs/figures.py --check
rm -rf "$out" build/doctrees
$python -m sphinx -q -W --keep-going -c docs -d build/doctrees/en . "$out/en"
$python -m sphinx -q -W --keep-going -c docs -d build/doctrees/zh -t cn . "$out/zh"
cat > "$out/index.html" <<'PAGE'
<!DOCTYPE html><meta charset="utf-8"><title>Documents</title>
<script>location.replace(navigator.language.startsWith("zh") ? "zh/README_cn.html" : "en/README.html")</script>
<p><a href="en/README.html">English</a> <a href="zh/README_cn.html">中文</a></p>
PAGE
echo "the site is in $out: open $out/index.html"
