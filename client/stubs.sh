#!/usr/bin/env bash
# Generate and compile stubs for Go, Java, TypeScript, Rust and C++ from proto/, then run a small program in each.
#
#   client/stubs.sh                 all languages, two at a time, then the programs against a server (tests/interop)
#   client/stubs.sh LANGUAGE…       generate and compile only these
#
# Needs .venv (make dev), whose protoc generates for Go and TypeScript; the other three bring or find their own. What is
# generated and built lies in folders that git ignores: build/stubs, and under client/LANGUAGE where that language's own
# tools look for it. A language whose toolchain is missing fails; none is ever left out.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

# Generators that no manifest fixes. Java, Rust and TypeScript name theirs in pom.xml, Cargo.toml and package.json.
PROTOC_GEN_GO=v1.36.12
PROTOC_GEN_GO_GRPC=v1.6.2

LANGUAGES=(rust cpp go java typescript) # the slowest first
# Two at a time: more would share two cores and the memory of one machine.
JOBS=${STUBS_JOBS:-2}
python=$root/.venv/bin/python
out=$root/build/stubs
staged=$out/googleapis

# What the languages need: PROGRAM and where it comes from.
declare -A TOOLS=(
  [rust]="cargo:rustc and cargo 1.88 or newer"
  [cpp]="c++:apt-get install g++|cmake:apt-get install cmake|protoc:apt-get install protobuf-compiler libprotobuf-dev"
  [go]="go:Go 1.25 or newer"
  [java]="javac:apt-get install openjdk-17-jdk-headless|mvn:apt-get install maven"
  [typescript]="node:Node.js 20 or newer|npm:npm, beside Node.js"
)
TOOLS[cpp]+="|grpc_cpp_plugin:apt-get install protobuf-compiler-grpc libgrpc++-dev"

# need LANGUAGE: succeed if every program that it needs is there, else name those that are not.
need() {
  local entry entries missing=0
  IFS='|' read -ra entries <<<"${TOOLS[$1]}"
  for entry in "${entries[@]}"; do
    command -v "${entry%%:*}" >/dev/null && continue
    printf 'stubs: %s needs %s (%s)\n' "$1" "${entry%%:*}" "${entry#*:}" >&2
    missing=1
  done
  return $missing
}

# protoc OPTION… FILE…: the protoc of .venv, for all our public protos and the files named.
protoc() {
  "$python" -m grpc_tools.protoc -I proto -I "$staged" "$@" proto/batchyard/v1/*.proto
}

build_go() {
  GOBIN=$out/go/tools go install "google.golang.org/protobuf/cmd/protoc-gen-go@$PROTOC_GEN_GO"
  GOBIN=$out/go/tools go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$PROTOC_GEN_GO_GRPC"
  local module
  module=$(cd client/go && go list -m)
  rm -rf client/go/batchyardpb
  protoc --plugin="$out/go/tools/protoc-gen-go" --go_out=client/go --go_opt="module=$module" \
    --plugin="$out/go/tools/protoc-gen-go-grpc" --go-grpc_out=client/go --go-grpc_opt="module=$module"
  cd client/go
  go vet ./...
  go build -o "$out/go/interop" ./interop
}

build_typescript() {
  cd client/typescript
  rm -rf src/gen dist
  mkdir -p src/gen
  npm install --ignore-scripts --no-audit --no-fund --loglevel=error
  cd ../..
  # No published package holds these for protobuf-es.
  local google=(google/longrunning/operations google/rpc/code google/rpc/error_details google/rpc/status
    google/api/annotations google/api/client google/api/field_behavior google/api/field_info google/api/http
    google/api/launch_stage google/api/resource)
  protoc --plugin=client/typescript/node_modules/.bin/protoc-gen-es --es_out=client/typescript/src/gen \
    --es_opt=target=ts,import_extension=js "${google[@]/%/.proto}"
  npm --prefix client/typescript run --silent build
}

build_java() {
  rm -rf client/java/target
  mvn --batch-mode --no-transfer-progress --quiet --file client/java/pom.xml process-classes
}

build_rust() {
  # Neither debug symbols nor incremental state: nobody debugs these, and they are most of the bytes.
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 cargo build --quiet --manifest-path client/rust/Cargo.toml \
    --lib --example interop
}

build_cpp() {
  rm -rf client/cpp/build/generated
  cmake -S client/cpp -B client/cpp/build -DCMAKE_BUILD_TYPE=Debug
  cmake --build client/cpp/build --parallel 2
}

# build LANGUAGE: one language with its log and its time; called by xargs below.
build() {
  local log=$out/$1.log code=0
  # In the background, because `set -e` has no effect in a command whose failure is handled.
  (build_"$1") >"$log" 2>&1 &
  wait $! || code=$?
  if [[ $code = 0 ]]; then
    printf 'stubs: %-10s %4d s\n' "$1" "$SECONDS"
  else
    printf 'stubs: %-10s %4d s  failed:\n%s\n' "$1" "$SECONDS" "$(tail -n 60 "$log")" >&2
  fi
  return "$code"
}

if [[ ${1-} = --build ]]; then
  build "$2"
  exit
fi

chosen=("$@")
[[ $# -gt 0 ]] || chosen=("${LANGUAGES[@]}")
lacking=0
for language in "${chosen[@]}"; do
  [[ -v TOOLS[$language] ]] || { printf 'stubs: no language %s\n' "$language" >&2; exit 2; }
  need "$language" || lacking=1
done
[[ $lacking = 0 ]] || exit 1
[[ -x $python ]] || { echo "stubs: .venv is missing; run: make dev" >&2; exit 1; }

mkdir -p "$out"
# Laid anew only if it changed, so that what was built from it stays current.
"$python" proto/generate.py --stage "$staged.new"
diff -rq "$staged" "$staged.new" >/dev/null 2>&1 || { rm -rf "$staged" && cp -r "$staged.new" "$staged"; }
rm -rf "$staged.new"
printf '%s\n' "${chosen[@]}" | xargs -n 1 -P "$JOBS" bash client/stubs.sh --build || {
  echo "stubs: not every language compiled" >&2
  exit 1
}
printf 'stubs: %-10s %4d s, all compiled\n' together "$SECONDS"
[[ $# = 0 ]] || exit 0
"$python" -m pytest -m long tests/interop/test_stubs.py
