#!/usr/bin/env bash
# Generate a client from proto/ as Google's own are (GAPIC), and install it where nothing of ours is.
#
#   client/gapic/generate.sh    build/gapic/client: the client, with its setup.py and its tests
#                               build/gapic/venv:   the generator, what the client needs, and the client, installed
#
# Needs .venv (make dev), whose protoc runs the generator; all else is fetched at the versions of requirements.lock. The
# environment is another one than .venv because the generated messages and our `batchyard.v1` declare the same symbols,
# which one process cannot hold twice. Everything is made anew; no method is named here.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=$PWD/build/gapic
python=$PWD/.venv/bin/python
uv=$PWD/.venv/bin/uv
[[ -x $python && -x $uv ]] || { echo "gapic: .venv is missing; run: make dev" >&2; exit 1; }

rm -rf "$out"
mkdir -p "$out/client"
"$uv" venv --quiet --python "$python" "$out/venv"
"$uv" pip sync --quiet --python "$out/venv/bin/python" --require-hashes client/gapic/requirements.lock

# Namespace and name are needed: a package of two parts gives the generator neither. They must not be `batchyard`, which
# is our client's, nor `gapic`, which is the generator's.
options=(
  python-gapic-namespace=batchyard_gapic
  python-gapic-name=batchyard
  warehouse-package-name=batchyard-gapic
  retry-config=proto/batchyard_v1_grpc_service_config.json
  service-yaml=proto/batchyard_v1.yaml
  transport=grpc+rest # REST too, so that its tests judge our HTTP rules
  rest-numeric-enums
  metadata
  autogen-snippets=false
)
"$python" proto/generate.py --stage "$out/googleapis"
"$python" -m grpc_tools.protoc -I proto -I "$out/googleapis" \
  --plugin="protoc-gen-python_gapic=$out/venv/bin/protoc-gen-python_gapic" \
  --python_gapic_out="$out/client" --python_gapic_opt="$(IFS=,; printf '%s' "${options[*]}")" \
  proto/batchyard/v1/*.proto

# What setup.py asks for must be what the lock brought.
"$uv" pip install --quiet --python "$out/venv/bin/python" --no-deps --no-build-isolation --reinstall "$out/client"
"$uv" pip check --quiet --python "$out/venv/bin/python"
printf 'gapic: %d s, %s\n' "$SECONDS" "${out#"$PWD"/}/client"
