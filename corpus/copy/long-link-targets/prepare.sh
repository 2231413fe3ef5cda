set -e
t=$(printf "abcdefg/%.0s" $(seq 60)); ln -s "$t" l; ln -s "$(printf "u%.0s" $(seq 100))" exactly; ln -s "$(printf "u%.0s" $(seq 101))" over
