#!/usr/bin/env bash
# The steps of action.yml, which hands its inputs over as INPUT_….
#
#   tools/action.sh install   installs onnx-gap beside this script, for the steps that follow
#   tools/action.sh audit     audits; never fails, but says in $GITHUB_OUTPUT how it ended
#   tools/action.sh finish    ends with the audit's exit code
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${RUNNER_TEMP:-${TMPDIR:-/tmp}}/onnx-gap-environment

install() {
    "${PYTHON:-python3}" -m venv "$home"
    local scripts=$home/bin
    [ -d "$scripts" ] || scripts=$home/Scripts # Windows
    "$scripts/python" -m pip install --quiet "$root${INPUT_EXTRAS:+[$INPUT_EXTRAS]}"
    echo "$scripts" >>"$GITHUB_PATH"
}

audit() {
    local out=${INPUT_OUT:-audit} code=0 verdict="" words word
    local arguments=("$INPUT_MODEL" --out "$out" --junit "$out/junit.xml" --markdown auto)
    [ -z "${INPUT_DATA:-}" ] || arguments+=(--data "$INPUT_DATA")
    [ -z "${INPUT_MAX_GAP:-}" ] || arguments+=(--max-gap "$INPUT_MAX_GAP")
    [ -z "${INPUT_MIN_ACCURACY:-}" ] || arguments+=(--min-accuracy "$INPUT_MIN_ACCURACY")
    [ -z "${INPUT_MAX_SUSPECTS:-}" ] || arguments+=(--max-suspects "$INPUT_MAX_SUSPECTS")
    [ -z "${INPUT_NOT_JUDGEABLE:-}" ] || arguments+=(--not-judgeable "$INPUT_NOT_JUDGEABLE")
    words=$(xargs -n 1 printf '%s\n' <<<"${INPUT_OPTIONS:-}") # which knows quotes, and expands nothing
    while IFS= read -r word; do
        [ -z "$word" ] || arguments+=("$word")
    done <<<"$words"
    rm -f "$out/junit.xml"
    onnx-gap audit "${arguments[@]}" || code=$?
    if [ -f "$out/junit.xml" ]; then
        verdict=$(sed -n 's/.*<property name="verdict" value="\([a-z ]*\)".*/\1/p' "$out/junit.xml")
    fi
    {
        echo "exit-code=$code"
        echo "verdict=$verdict"
        echo "folder=$out"
    } >>"$GITHUB_OUTPUT"
}

finish() {
    [ "${INPUT_BLOCKS:-true}" != true ] || exit "${EXIT_CODE:?the audit did not run}"
}

"$1"
