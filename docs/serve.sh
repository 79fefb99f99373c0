#!/usr/bin/env bash
# Shows the built site and prints its address: bash docs/serve.sh [PORT]. Without one any free port is taken.
cd "$(dirname "$0")/_build/html" 2>/dev/null || { echo "build it first: make docs" >&2; exit 1; }
exec python3 -u -m http.server "${1:-0}" --bind 127.0.0.1
