set -e
p=.; for i in $(seq 80); do p=$p/level-$i; done; mkdir -p $p; echo deep > $p/file
