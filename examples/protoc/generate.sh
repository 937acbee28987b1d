#!/usr/bin/env bash
# Generates code for the contracts: generate.sh cpp|java|go OUT [GOOGLEAPIS]
#
# Needs protoc 3.21 or newer. Clients are generated as well where the language's gRPC plugin is installed.
# GOOGLEAPIS is a folder that has google/rpc/status.proto and error_details.proto, for languages without a package of
# them: with it they are generated too.
set -euo pipefail

language=$1 out=$2 googleapis=${3:-}
protos=$(cd "$(dirname "$0")/../../protos" && pwd)
mapfile -t files < <(cd "$protos" && find tillmesh -name '*.proto' | LC_ALL=C sort)
mkdir -p "$out"

# The gRPC plugin of a language under whichever name it is installed; nothing if it is not.
plugin() {
    for name in "$@"; do
        if command -v "$name"; then return; fi
    done
}

generate() {
    protoc -I "$protos" ${googleapis:+-I "$googleapis"} "$@"
}

if [[ -n $googleapis ]]; then files+=(google/rpc/status.proto google/rpc/error_details.proto); fi
case $language in
cpp)
    grpc=$(plugin grpc_cpp_plugin)
    generate --cpp_out="$out" ${grpc:+--plugin=protoc-gen-grpc="$grpc" --grpc_out="$out"} "${files[@]}"
    ;;
java)
    grpc=$(plugin protoc-gen-grpc-java grpc_java_plugin)
    generate --java_out="$out" ${grpc:+--plugin=protoc-gen-grpc-java="$grpc" --grpc-java_out="$out"} "${files[@]}"
    ;;
go)
    # A package at a time, which an old protoc-gen-go insists on.
    grpc=$(plugin protoc-gen-go-grpc)
    for package in $(printf '%s\n' "${files[@]}" | xargs -n 1 dirname | LC_ALL=C sort -u); do
        mapfile -t own < <(printf '%s\n' "${files[@]}" | grep "^$package/")
        generate --go_out="$out" ${grpc:+--go-grpc_out="$out"} "${own[@]}"
    done
    ;;
*)
    echo "generate.sh cpp|java|go OUT [GOOGLEAPIS], not $language" >&2
    exit 2
    ;;
esac
