#!/usr/bin/env bash
# Generates the Ruby code of the contracts: generate.sh [OUT]. PROTOS names their folder, if it is another one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
protos=${PROTOS:-$here/../../protos}
out=${1:-$here/generated}
mapfile -t files < <(cd "$protos" && find tillmesh -name '*.proto' | LC_ALL=C sort)
mkdir -p "$out"
grpc_tools_ruby_protoc -I "$protos" --ruby_out="$out" --grpc_out="$out" "${files[@]}"
