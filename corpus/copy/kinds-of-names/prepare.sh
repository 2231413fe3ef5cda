#!/bin/sh
# Things that git does not keep.
set -eu
mkdir -p -- ' lead' '-dash' '.hidden' 'ünïcode' "$(printf 'new\nline')"
for name in ' space ' '-n' '.dot' '..twodots' 'ünï' "quote'\"" 'back\slash' 'star*' '[brackets]' '$dollar' '#hash' '!bang' '~tilde' 'semi;colon' "$(printf 'tab\there')" 'wh.name' 'x.wh.y'; do
    printf x > "./$name"
done
printf x > "ünïcode/$(printf 'a%.0s' $(seq 200))"
