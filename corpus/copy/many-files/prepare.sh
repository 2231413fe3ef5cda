set -e
mkdir d; for i in $(seq 100); do mkdir d/$i; (cd d/$i; for j in $(seq 100); do : > $j; done); done
