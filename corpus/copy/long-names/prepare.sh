set -e
n=$(printf "n%.0s" $(seq 255)); : > $n; mkdir ${n%?}; ln -s $n/$n ${n%?}/link; p=d; for i in $(seq 12); do p=$p/$(printf "%099d" $i); done; mkdir -p $p; : > $p/f; ln $p/f $p/g
